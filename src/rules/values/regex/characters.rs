//! Characters of regular expressions: escapes, and sets.

use super::{Member, Step, Translator, wrong};
use crate::crds::literal::named_character;

impl Translator {
    /// Translates what follows a backslash, in or outside of a set.
    pub(super) fn escaped(&mut self, in_set: bool) -> Step<Member> {
        let Some(character) = self.next() else {
            return wrong("a backslash ends the expression");
        };
        Ok(match character {
            'd' => Member::Several("\\d"),
            'D' => Member::Several("\\D"),
            'w' => Member::Several("\\w"),
            'W' => Member::Several("\\W"),
            's' => Member::Several("\\s\\x1c-\\x1f"),
            'S' => Member::Several("[^\\s\\x1c-\\x1f]"),
            'a' => Member::One('\x07'),
            'b' if in_set => Member::One('\x08'),
            'f' => Member::One('\x0c'),
            'n' => Member::One('\n'),
            'r' => Member::One('\r'),
            't' => Member::One('\t'),
            'v' => Member::One('\x0b'),
            'x' => self.code(2)?,
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            'N' => {
                let name = if self.takes("{") {
                    self.until('}')?
                } else {
                    String::new()
                };
                match named_character(&name) {
                    Some(character) => Member::One(character),
                    None => return wrong("no character of this name is known here"),
                }
            }
            '0'..='7' => {
                let mut code = character.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|digit| digit.to_digit(8)) else {
                        break;
                    };
                    self.at += 1;
                    code = code * 8 + digit;
                }
                match char::from_u32(code).filter(|_| code <= 0o377) {
                    Some(character) => Member::One(character),
                    None => return wrong("an octal escape is too great"),
                }
            }
            '8' | '9' => return wrong("there is no such escape"),
            letter if letter.is_ascii_alphabetic() => return wrong("there is no such escape"),
            other => Member::One(other),
        })
    }

    fn code(&mut self, digits: usize) -> Step<Member> {
        let digits: Option<String> = (0..digits)
            .map(|_| self.next().filter(char::is_ascii_hexdigit))
            .collect();
        let code = digits.and_then(|digits| u32::from_str_radix(&digits, 16).ok());
        match code.and_then(char::from_u32) {
            Some(character) => Ok(Member::One(character)),
            None => wrong("an escape lacks digits"),
        }
    }

    /// Translates what follows an opening bracket.
    pub(super) fn set(&mut self) -> Step {
        self.out.push('[');
        if self.takes("^") {
            self.out.push('^');
        }
        let mut first = true;
        while first || self.peek() != Some(']') {
            first = false;
            let member = self.member()?;
            let Member::One(low) = member else {
                if let Member::Several(class) = member {
                    self.out.push_str(class);
                }
                if self.peek() == Some('-') && !matches!(self.pattern.get(self.at + 1), Some(']') | None) {
                    return wrong("a range begins with a class");
                }
                continue;
            };
            let mut high = low;
            if self.peek() == Some('-') && self.pattern.get(self.at + 1) != Some(&']') {
                self.at += 1;
                match self.member()? {
                    Member::One(character) if low <= character => high = character,
                    _ => return wrong("a range is turned round"),
                }
            }
            self.emit(format_args!(
                "\\x{{{:x}}}-\\x{{{:x}}}",
                u32::from(low),
                u32::from(high)
            ));
        }
        self.at += 1;
        self.out.push(']');
        Ok(())
    }

    fn member(&mut self) -> Step<Member> {
        match self.next() {
            Some('\\') => self.escaped(true),
            Some(character) => Ok(Member::One(character)),
            None => wrong("a set is not closed"),
        }
    }
}
