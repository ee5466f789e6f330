//! Answers for those who ask for something else, as RFC 9457 has them: `application/problem+json`.

/// An answer that is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    /// The phrase of the status.
    pub(crate) title: &'static str,
    /// What to do instead, without quotation marks or anything else that JSON would want escaped.
    pub(crate) detail: &'static str,
    /// A field that this status calls for.
    pub(crate) field: Option<(&'static str, &'static str)>,
}

impl Problem {
    pub(crate) const fn new(status: u16, title: &'static str, detail: &'static str) -> Self {
        Self {
            status,
            title,
            detail,
            field: None,
        }
    }

    pub(crate) const fn with_field(self, name: &'static str, value: &'static str) -> Self {
        Self {
            field: Some((name, value)),
            ..self
        }
    }

    /// The body.
    pub(crate) fn json(&self) -> String {
        format!(
            "{{\"type\":\"about:blank\",\"title\":\"{}\",\"status\":{},\"detail\":\"{}\"}}\n",
            self.title, self.status, self.detail
        )
    }
}

/// The content type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
