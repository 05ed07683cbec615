//! Python's regular expressions, in the words of the `fancy-regex` crate.

use std::fmt::Write as _;

use fancy_regex::Regex;

use crate::rules::values::python::is_space;

mod characters;

/// A prepared expression.
#[derive(Debug, Clone)]
pub(crate) struct PythonRegex(Regex);

impl PythonRegex {
    /// `re.compile`; what Python refuses is refused in our own words.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let translated = match Translator::new(pattern, false).whole() {
            Err(Stop::Verbose) => Translator::new(pattern, true).whole(),
            other => other,
        };
        let regex = match translated {
            Ok(regex) => Regex::new(&regex).map_err(|error| error.to_string()),
            Err(Stop::Wrong(what)) => Err(what.to_owned()),
            Err(Stop::Verbose) => Err("flags".to_owned()),
        };
        regex
            .map(Self)
            .map_err(|error| format!("bad regular expression: {error}"))
    }

    /// `re.match`: whether the value begins with a match. One that takes too long to find is none.
    pub(crate) fn begins(&self, value: &str) -> bool {
        self.0.is_match(value).unwrap_or(false)
    }
}

/// Deepest nesting of groups.
const MAX_DEPTH: usize = 100;

/// The reason for which the translation ends early.
enum Stop {
    Wrong(&'static str),
    /// A flag at the beginning says that blanks and comments are to be skipped.
    Verbose,
}

/// The item that a quantifier would repeat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Item,
    Repetition,
}

/// A member of a set of characters, or a character outside of one.
enum Member {
    One(char),
    Several(&'static str),
}

struct Translator {
    pattern: Vec<char>,
    at: usize,
    out: String,
    /// Letters of flags that hold for the whole expression.
    flags: String,
    multiline: bool,
    verbose: bool,
    /// By number minus one: the name of a group, and whether it is closed.
    groups: Vec<(Option<String>, bool)>,
    depth: usize,
}

type Step<T = ()> = Result<T, Stop>;

fn wrong<T>(what: &'static str) -> Step<T> {
    Err(Stop::Wrong(what))
}

impl Translator {
    fn new(pattern: &str, verbose: bool) -> Self {
        Self {
            pattern: pattern.chars().collect(),
            at: 0,
            out: String::new(),
            flags: String::new(),
            multiline: false,
            verbose,
            groups: Vec::new(),
            depth: 0,
        }
    }

    fn peek(&self) -> Option<char> {
        self.pattern.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    fn takes(&mut self, text: &str) -> bool {
        let rest = self.pattern.get(self.at..).unwrap_or(&[]);
        let length = text.chars().count();
        let taken = rest.len() >= length
            && rest
                .iter()
                .copied()
                .zip(text.chars())
                .all(|(own, other)| own == other);
        self.at += if taken { length } else { 0 };
        taken
    }

    /// The text up to a character, which is taken too.
    fn until(&mut self, end: char) -> Step<String> {
        let mut text = String::new();
        loop {
            match self.next() {
                Some(character) if character == end => return Ok(text),
                Some(character) => text.push(character),
                None => return wrong("something is not closed"),
            }
        }
    }

    fn whole(mut self) -> Step<String> {
        self.global_flags()?;
        self.alternatives()?;
        if self.peek().is_some() {
            return wrong("a parenthesis closes nothing");
        }
        let flags = if self.flags.is_empty() {
            String::new()
        } else {
            format!("(?{})", self.flags)
        };
        Ok(format!("{flags}\\A(?:{})", self.out))
    }

    /// `(?ims)` and the like, which may only stand at the beginning.
    fn global_flags(&mut self) -> Step {
        loop {
            let begin = self.at;
            let mut letters = String::new();
            if self.takes("(?") {
                while let Some(letter) = self.peek().filter(char::is_ascii_lowercase) {
                    self.at += 1;
                    letters.push(letter);
                }
            }
            if letters.is_empty() || !self.takes(")") {
                // Nothing like it, or a group with flags of its own.
                self.at = begin;
                return Ok(());
            }
            for letter in letters.chars() {
                match letter {
                    'i' | 's' => self.flags.push(letter),
                    'm' => self.multiline = true,
                    'x' if !self.verbose => return Err(Stop::Verbose),
                    'x' | 'a' | 'u' => {}
                    _ => return wrong("there is no such flag"),
                }
            }
        }
    }

    fn alternatives(&mut self) -> Step<usize> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return wrong("groups are nested too deeply");
        }
        let mut count = 1;
        self.sequence()?;
        while self.takes("|") {
            self.out.push('|');
            self.sequence()?;
            count += 1;
        }
        self.depth -= 1;
        Ok(count)
    }

    fn sequence(&mut self) -> Step {
        let mut before = Before::Nothing;
        while let Some(character) = self.peek().filter(|next| !matches!(next, '|' | ')')) {
            self.at += 1;
            before = match character {
                '#' if self.verbose => {
                    while self.next().is_some_and(|next| next != '\n') {}
                    before
                }
                _ if self.verbose && is_space(character) => before,
                '^' => {
                    self.out.push_str(if self.multiline { "(?m:^)" } else { "^" });
                    Before::Nothing
                }
                '$' => {
                    self.out
                        .push_str(if self.multiline { "(?m:$)" } else { "(?=\\n?\\z)" });
                    Before::Nothing
                }
                '.' => {
                    self.out.push('.');
                    Before::Item
                }
                '[' => {
                    self.set()?;
                    Before::Item
                }
                '(' => self.group(before)?,
                '\\' => self.escape()?,
                '*' => self.quantifier("*", before)?,
                '+' => self.quantifier("+", before)?,
                '?' => self.quantifier("?", before)?,
                '{' => match self.counts()? {
                    Some(counts) => self.quantifier(&counts, before)?,
                    None => self.literal('{'),
                },
                other => self.literal(other),
            };
        }
        Ok(())
    }

    fn emit(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(text);
    }

    fn literal(&mut self, character: char) -> Before {
        self.emit(format_args!("\\x{{{:x}}}", u32::from(character)));
        Before::Item
    }

    fn quantifier(&mut self, counts: &str, before: Before) -> Step<Before> {
        match before {
            Before::Nothing => return wrong("there is nothing to repeat"),
            Before::Repetition => return wrong("a repetition is repeated"),
            Before::Item => {}
        }
        self.out.push_str(counts);
        if let Some(mode @ ('?' | '+')) = self.peek() {
            self.at += 1;
            self.out.push(mode);
        }
        Ok(Before::Repetition)
    }

    /// `{1}`, `{1,}`, `{,2}`, `{1,2}` behind the brace; anything else is no quantifier.
    fn counts(&mut self) -> Step<Option<String>> {
        let begin = self.at;
        let low = self.digits();
        let high = self.takes(",").then(|| self.digits());
        if high.is_none() && low.is_empty() || !self.takes("}") {
            self.at = begin;
            return Ok(None);
        }
        let number = |digits: &str| digits.parse::<u64>().ok();
        Ok(Some(match high.as_deref() {
            None => format!("{{{low}}}"),
            Some(high) => {
                if number(high).is_some_and(|high| number(&low).is_some_and(|low| low > high)) {
                    return wrong("the greatest count is less than the least");
                }
                let low = if low.is_empty() { "0" } else { &low };
                format!("{{{low},{high}}}")
            }
        }))
    }

    fn digits(&mut self) -> String {
        let mut digits = String::new();
        while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
            self.at += 1;
            digits.push(digit);
        }
        digits
    }

    /// Translates what follows an opening parenthesis.
    fn group(&mut self, before: Before) -> Step<Before> {
        let (multiline, verbose) = (self.multiline, self.verbose);
        if self.takes("?#") {
            self.until(')')?;
            return Ok(before);
        }
        if self.takes("?P=") {
            let name = self.until(')')?;
            self.reference(|(own, _)| own.as_ref() == Some(&name))?;
            return Ok(Before::Item);
        }
        let plain = ["?:", "?=", "?!", "?<=", "?<!", "?>"]
            .into_iter()
            .find(|kind| self.takes(kind));
        let mut branches = usize::MAX;
        let mut opened = None;
        if let Some(kind) = plain {
            self.out.push('(');
            self.out.push_str(kind);
        } else if self.takes("?(") {
            let name = self.until(')')?;
            let number = match name.parse::<usize>() {
                Ok(number) => number,
                Err(_) => self.number_of(|(own, _)| own.as_ref() == Some(&name))?,
            };
            if !(1..=self.groups.len()).contains(&number) {
                return wrong("there is no such group");
            }
            self.emit(format_args!("(?({number})"));
            branches = 2;
        } else if self.takes("?P<") {
            let name = self.until('>')?;
            let letters = name
                .chars()
                .all(|letter| letter == '_' || letter.is_alphanumeric());
            let known = self.groups.iter().any(|(own, _)| own.as_ref() == Some(&name));
            if !letters || known || name.starts_with(|first: char| first.is_numeric()) || name.is_empty() {
                return wrong("that is no name of a group");
            }
            opened = Some(self.open(Some(name)));
        } else if self.takes("?") {
            self.group_flags()?;
        } else {
            opened = Some(self.open(None));
        }
        if self.alternatives()? > branches {
            return wrong("a choice has more than two branches");
        }
        if !self.takes(")") {
            return wrong("a parenthesis is not closed");
        }
        self.out.push(')');
        if let Some(group) = opened.and_then(|place: usize| self.groups.get_mut(place)) {
            group.1 = true;
        }
        (self.multiline, self.verbose) = (multiline, verbose);
        Ok(Before::Item)
    }

    fn open(&mut self, name: Option<String>) -> usize {
        self.out.push('(');
        self.groups.push((name, false));
        self.groups.len() - 1
    }

    /// `(?i-s:`
    fn group_flags(&mut self) -> Step {
        let mut on = true;
        let mut letters = String::new();
        loop {
            match self.next() {
                Some(':') => break,
                Some('-') if on => {
                    on = false;
                    letters.push('-');
                }
                Some(letter @ ('i' | 's')) => letters.push(letter),
                Some('m') => self.multiline = on,
                Some('x') => self.verbose = on,
                Some('a' | 'u') if on => {}
                _ => return wrong("there is no such flag here"),
            }
        }
        self.out.push_str("(?");
        self.out.push_str(letters.strip_suffix('-').unwrap_or(&letters));
        self.out.push(':');
        Ok(())
    }

    fn number_of(&self, wanted: impl Fn(&(Option<String>, bool)) -> bool) -> Step<usize> {
        match self.groups.iter().position(wanted) {
            Some(place) => Ok(place + 1),
            None => wrong("there is no such group"),
        }
    }

    /// A reference to a group, which has to be closed.
    fn reference(&mut self, wanted: impl Fn(&(Option<String>, bool)) -> bool) -> Step {
        let number = self.number_of(|group| wanted(group) && group.1)?;
        self.emit(format_args!("(?:\\{number})"));
        Ok(())
    }

    fn escape(&mut self) -> Step<Before> {
        let position = match self.peek() {
            Some('A') => "\\A",
            Some('Z') => "\\z",
            Some('b') => "\\b",
            Some('B') => "\\B",
            _ => "",
        };
        if !position.is_empty() {
            self.at += 1;
            self.out.push_str(position);
            return Ok(Before::Nothing);
        }
        if let Some(first @ '1'..='9') = self.peek() {
            let octal = |place: usize| {
                self.pattern
                    .get(self.at + place)
                    .is_some_and(|digit| digit.is_digit(8))
            };
            if !(octal(0) && octal(1) && octal(2)) {
                self.at += 1;
                let mut number = first.to_digit(10).unwrap_or(0) as usize;
                if let Some(digit) = self.peek().and_then(|digit| digit.to_digit(10)) {
                    self.at += 1;
                    number = number * 10 + digit as usize;
                }
                match self.groups.get(number - 1) {
                    Some((_, true)) => self.emit(format_args!("(?:\\{number})")),
                    _ => return wrong("there is no such group"),
                }
                return Ok(Before::Item);
            }
        }
        match self.escaped(false)? {
            Member::One(character) => self.literal(character),
            Member::Several(class) => {
                self.emit(format_args!("[{class}]"));
                Before::Item
            }
        };
        Ok(Before::Item)
    }
}

#[cfg(test)]
mod tests;
