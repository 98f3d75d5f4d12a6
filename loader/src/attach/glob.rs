//! Patterns of symbol names: `*` for any number of characters, `?` for one.

/// Whether `name` matches `pattern` as a whole. Takes steps in the product of both lengths at most.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut in_name) = (0, 0);
    // Where to go on when the rest does not match: the last star, and one more character of the name for it.
    let mut retry: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match (pattern.get(at), name.get(in_name)) {
            (Some(b'*'), _) => {
                retry = Some((at + 1, in_name));
                at += 1;
            }
            (Some(b'?'), _) => (at, in_name) = (at + 1, in_name + 1),
            (Some(a), Some(b)) if a == b => (at, in_name) = (at + 1, in_name + 1),
            _ => match retry {
                Some((star, taken)) => {
                    retry = Some((star, taken + 1));
                    (at, in_name) = (star, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// Whether it stands for more than one name.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        for (pattern, name) in
            [("tcp_*", "tcp_v4_connect"), ("*", ""), ("a?c", "abc"), ("*_rcv*x", "a_rcv_rcvx"), ("a**", "a")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("tcp_", "tcp_v4"), ("a?c", "ac"), ("*x", "xy"), ("", "a"), ("?", "")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
