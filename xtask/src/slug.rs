//! The anchor that a Markdown heading gets, as GitHub and mdBook make it.

use std::collections::HashMap;

/// The anchors of every heading in `text`, numbered where two headings are alike.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut anchors = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let hashes = line.bytes().take_while(|b| *b == b'#').count();
        if hashes == 0 || hashes > 6 || !line[hashes..].starts_with(' ') {
            continue;
        }
        let slug = of_heading(&line[hashes..]);
        let count = seen.entry(slug.clone()).or_insert(0);
        anchors.push(if *count == 0 {
            slug.clone()
        } else {
            format!("{slug}-{count}")
        });
        *count += 1;
    }
    anchors
}

/// Lower case, spaces to hyphens, and nothing but letters, digits, hyphens and underscores.
fn of_heading(heading: &str) -> String {
    heading
        .trim()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    //! The cases that differ between a naive rule and GitHub's.

    use super::anchors;

    #[test]
    fn punctuation_vanishes_and_spaces_become_hyphens() {
        assert_eq!(
            anchors("## 3.1 The `ext` field, again"),
            ["31-the-ext-field-again"]
        );
    }

    #[test]
    fn equal_headings_are_numbered() {
        assert_eq!(anchors("# A\n## A\n"), ["a", "a-1"]);
    }

    #[test]
    fn code_is_not_a_heading() {
        assert_eq!(anchors("```sh\n# not this\n```\n# this\n"), ["this"]);
    }
}
