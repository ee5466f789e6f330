//! A set of classes of service.

use std::fmt;

use valkyrie_frame::Class;

/// A set of classes, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Classes(u8);

impl Classes {
    /// No class.
    pub const NONE: Self = Self(0);
    /// Every class, also those that get ahead of everybody else's traffic.
    pub const ALL: Self = Self((1 << Class::COUNT) - 1);
    /// Job, data and bulk: what a rule means that names no class. Critical and system are only for whom they are
    /// given to by name, so that nobody promotes itself.
    pub const ORDINARY: Self = Self::NONE.with(Class::Job).with(Class::Data).with(Class::Bulk);

    /// These and `class`.
    #[must_use]
    pub const fn with(self, class: Class) -> Self {
        Self(self.0 | 1 << class.index())
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `class` is among them.
    #[inline]
    pub const fn contains(self, class: Class) -> bool {
        self.0 & 1 << class.index() != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The classes, most urgent first.
    pub fn iter(self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(move |class| self.contains(*class))
    }
}

impl FromIterator<Class> for Classes {
    fn from_iter<I: IntoIterator<Item = Class>>(classes: I) -> Self {
        classes.into_iter().fold(Self::NONE, Self::with)
    }
}

/// The names, with commas: `job, data, bulk`.
impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, class) in self.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            f.write_str(class.name())?;
        }
        if self.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_classes_leave_out_those_that_overtake() {
        assert!(!Classes::ORDINARY.contains(Class::Critical));
        assert!(!Classes::ORDINARY.contains(Class::System));
        assert_eq!(Classes::ORDINARY.to_string(), "job, data, bulk");
        assert_eq!(Classes::ALL.iter().count(), Class::COUNT);
    }
}
