//! Error messages come escaped for HTML.

/// The text with its HTML entities replaced; anything else stays.
pub(super) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        if let Some((character, after)) = entity(from) {
            plain.push(character);
            rest = after;
        } else {
            plain.push('&');
            rest = from.get(1..).unwrap_or_default();
        }
    }
    plain.push_str(rest);
    plain
}

/// The character of the entity that `text` begins with, and what follows it.
fn entity(text: &str) -> Option<(char, &str)> {
    let (name, after) = text.strip_prefix('&')?.split_once(';')?;
    let character = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|it| !it.is_control())?
        }
    };
    Some((character, after))
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn entities_are_replaced_once() {
        assert_eq!(
            unescape("OtherError: can&#39;t find &lt;&quot;x&quot;&gt; &amp;amp; &#x27;y&#x27;"),
            "OtherError: can't find <\"x\"> &amp; 'y'"
        );
        assert_eq!(
            unescape("a & b &; &nonsense; &#0; &#xffffffff; &"),
            "a & b &; &nonsense; &#0; &#xffffffff; &"
        );
        assert_eq!(unescape("&&lt;é&gt;"), "&<é>");
    }
}
