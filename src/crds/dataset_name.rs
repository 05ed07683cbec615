//! Names below `/bestrefs/<context>/`: the id of a dataset in the archive, or matching parameters themselves.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::name::{NameError, Observatory};
use super::product;

/// A dataset, named by its id or by its parameters. Names that mean the same are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DatasetName {
    /// An archive id.
    Id(DatasetId),
    /// `KEY=VALUE,KEY=VALUE...`
    Parameters(Parameters),
}

/// An archive id, `[A-Za-z0-9_.+-]{1,128}`, optionally `:` and the same again (spec/crds-service 1.4). Equal in any
/// case; the name of a product stands for the id of its dataset. Remembers how it was typed.
#[derive(Debug, Clone)]
pub struct DatasetId {
    upper: String,
    typed: String,
}

/// Matching parameters. Keys are upper case, as in the headers of servers; values are what was typed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parameters(BTreeMap<String, String>);

const WHAT_ID: &str = "a dataset id (letters, digits, '_', '.', '+', '-'; two of them joined by ':')";
const WHAT_PARAMETERS: &str = "a list of parameters (KEY=VALUE,KEY=VALUE...; in values '%2C' for ',', '%3D' for '=', '%2F' for '/', '%25' for '%')";

/// More bytes than this in one name are refused: nothing that the kernel passes on is longer.
const MAX_LENGTH: usize = 4096;
/// The longest key and value that servers accept, in characters (spec/crds-service 1.3 B).
const MAX_PART: usize = 256;

/// The characters that are written with `%` in a path.
const ESCAPED: &AsciiSet = &CONTROLS.add(b',').add(b'=').add(b'/').add(b'%');

impl DatasetId {
    /// The id as servers use it, in upper case.
    pub fn as_str(&self) -> &str {
        &self.upper
    }

    /// The id as it was typed.
    pub(crate) fn typed(&self) -> &str {
        &self.typed
    }

    /// Divides things into groups whose ids may share a call, in which servers may take an id for another one: they look for
    /// one that they do not know in the others of the call.
    pub(crate) fn apart<T>(things: impl IntoIterator<Item = T>, id: impl Fn(&T) -> &Self) -> Vec<Vec<T>> {
        let mut groups: Vec<Vec<T>> = Vec::new();
        for thing in things {
            let fits =
                |group: &&mut Vec<T>| !group.iter().any(|other| id(other).may_be_taken_for(id(&thing)));
            match groups.iter_mut().find(fits) {
                Some(group) => group.push(thing),
                None => groups.push(vec![thing]),
            }
        }
        groups
    }

    /// Whether servers may take one of these ids for the other.
    fn may_be_taken_for(&self, other: &Self) -> bool {
        let (one, other) = (self.as_str(), other.as_str());
        one != other && (one.contains(other) || other.contains(one))
    }

    /// The observatory whose exposure it names, as far as its form tells.
    pub fn observatory(&self) -> Option<Observatory> {
        product::observatory(&self.upper)
    }
}

impl FromStr for DatasetId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let part = |part: &str| {
            let allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+' | b'-');
            (1..=128).contains(&part.len()) && part.bytes().all(allowed)
        };
        let valid = match text.split_once(':') {
            Some((product, exposure)) => part(product) && part(exposure),
            None => part(text),
        };
        if !valid || text.starts_with('.') {
            return Err(NameError::new(text, WHAT_ID));
        }
        Ok(Self {
            upper: product::dataset(text).unwrap_or_else(|| text.to_ascii_uppercase()),
            typed: text.to_owned(),
        })
    }
}

impl PartialEq for DatasetId {
    fn eq(&self, other: &Self) -> bool {
        self.upper == other.upper
    }
}

impl Eq for DatasetId {}

impl PartialOrd for DatasetId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DatasetId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.upper.cmp(&other.upper)
    }
}

impl Hash for DatasetId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.upper.hash(state);
    }
}

impl fmt::Display for DatasetId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.upper)
    }
}

impl Parameters {
    /// Parameters of a header. Keys become upper case.
    pub fn new(header: impl IntoIterator<Item = (String, String)>) -> Result<Self, NameError> {
        let mut parameters = BTreeMap::new();
        for (key, value) in header {
            let wrong = |text: &str| NameError::new(text, WHAT_PARAMETERS);
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
            if !(1..=MAX_PART).contains(&key.len()) || !key.bytes().all(allowed) || key.starts_with('.') {
                return Err(wrong(&key));
            }
            if value.chars().count() > MAX_PART || value.chars().any(char::is_control) {
                return Err(wrong(&value));
            }
            if parameters.insert(key.to_ascii_uppercase(), value).is_some() {
                return Err(wrong(&key));
            }
        }
        if parameters.is_empty() {
            return Err(NameError::new("", WHAT_PARAMETERS));
        }
        Ok(Self(parameters))
    }

    /// The parameters, by upper-case key.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl FromStr for Parameters {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::new(text, WHAT_PARAMETERS);
        if text.len() > MAX_LENGTH || text.contains('/') {
            return Err(wrong());
        }
        let decode = |part: &str| {
            percent_decode_str(part)
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
                .map_err(|_| wrong())
        };
        let mut header = Vec::new();
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
            if value.contains('=') {
                return Err(wrong());
            }
            header.push((decode(key)?, decode(value)?));
        }
        Self::new(header)
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}{key}={}", utf8_percent_encode(value, ESCAPED))?;
        }
        Ok(())
    }
}

impl DatasetName {
    /// The name as it was typed (an id) or in its sorted form (parameters): what a listing shows.
    pub(crate) fn display(&self) -> String {
        match self {
            Self::Id(id) => id.typed().to_owned(),
            Self::Parameters(parameters) => parameters.to_string(),
        }
    }
}

impl FromStr for DatasetName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains('=') {
            text.parse().map(Self::Parameters)
        } else {
            text.parse().map(Self::Id)
        }
    }
}

/// The one form that all equal names share: an id in upper case, or sorted parameters.
impl fmt::Display for DatasetName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(out),
            Self::Parameters(parameters) => parameters.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> DatasetName {
        text.parse().unwrap()
    }

    #[test]
    fn ids_that_contain_one_another_are_apart() {
        let ids = ["ABC", "AB", "X", "ABCD", "AB"].map(|text| text.parse::<DatasetId>().unwrap());
        let groups = DatasetId::apart(ids, |id| id);
        let texts: Vec<Vec<&str>> = groups
            .iter()
            .map(|group| group.iter().map(DatasetId::as_str).collect())
            .collect();
        assert_eq!(texts, [vec!["ABC", "X"], vec!["AB", "AB"], vec!["ABCD"]]);
    }

    #[test]
    fn ids_are_equal_in_any_case() {
        let typed = name("r0000101001001001001_01101_0001.wfi16");
        assert_eq!(typed, name("R0000101001001001001_01101_0001.WFI16"));
        assert_eq!(typed.to_string(), "R0000101001001001001_01101_0001.WFI16");
        assert_eq!(typed.display(), "r0000101001001001001_01101_0001.wfi16");
        assert_eq!(name("JCL403010:jcl403ecq").to_string(), "JCL403010:JCL403ECQ");
    }

    #[test]
    fn a_product_is_its_dataset() {
        let product = name("jw01234001001_02101_00001_mirimage_uncal.fits");
        assert_eq!(product, name("JW01234001001_02101_00001.MIRIMAGE"));
        assert_eq!(product.display(), "jw01234001001_02101_00001_mirimage_uncal.fits");
        let DatasetName::Id(id) = product else {
            panic!("an id");
        };
        assert_eq!(id.observatory(), Some(Observatory::Jwst));
    }

    #[test]
    fn parameters_are_sorted_and_escaped() {
        let typed = name("meta.instrument.name=MIRI,META.EXPOSURE.TYPE=MIR%2CIMAGE%2f%25%3D,A=");
        assert_eq!(
            typed.to_string(),
            "A=,META.EXPOSURE.TYPE=MIR%2CIMAGE%2F%25%3D,META.INSTRUMENT.NAME=MIRI"
        );
        let DatasetName::Parameters(parameters) = &typed else {
            panic!("{typed:?}");
        };
        assert_eq!(parameters.as_map()["META.EXPOSURE.TYPE"], "MIR,IMAGE/%=");
        assert_eq!(name(&typed.to_string()), typed);
        assert_eq!(
            name("DATE-OBS=2020-01-01,TIME-OBS=12:00:00.5"),
            name("TIME-OBS=12:00:00.5,DATE-OBS=2020-01-01")
        );
    }

    #[test]
    fn refuses_everything_else() {
        let long = "x".repeat(129);
        for text in [
            "", ".", "..", ".hidden", "a:", ":a", "a:b:c", "a b", "a/b", "N/A", "é", "a%2fb", &long, "=x",
            "a=1,", ",a=1", "a=1,,b=2", "a=1,a=2", "a=1,A=2", "a=1=2", "a=/", "a=%00", "a=%ff", "a b=1",
            ".a=1", "a=1,b",
        ] {
            assert!(text.parse::<DatasetName>().is_err(), "{text}");
        }
        assert!(format!("a={}", "x".repeat(257)).parse::<DatasetName>().is_err());
    }

    proptest! {
        #[test]
        fn parameters_survive_their_text(
            header in prop::collection::btree_map("[A-Z0-9_.-]{0,6}Z", "\\PC{0,20}", 1..6)
        ) {
            prop_assume!(header.keys().all(|key| !key.starts_with('.')));
            let parameters = Parameters::new(header.clone()).unwrap();
            prop_assert_eq!(parameters.as_map(), &header);
            prop_assert_eq!(name(&parameters.to_string()), DatasetName::Parameters(parameters));
        }

        #[test]
        fn the_one_form_is_a_name_again(text in "[ -~]{0,40}") {
            if let Ok(name) = text.parse::<DatasetName>() {
                prop_assert!(!name.to_string().contains('/') && !name.to_string().starts_with('.'));
                prop_assert_eq!(name.to_string().parse::<DatasetName>().unwrap(), name);
            }
        }
    }
}
