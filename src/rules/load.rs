//! Loading of mappings: the order of checks and the texts of errors (spec/crds-rules 5 and 6).

use std::borrow::Cow;

use super::compile::{Compiler, Substitutions};
use super::expression::{Constant, Expression, ExpressionError};
use super::hooks::Hook;
use super::mapping::{Instrument, Mapping, Pipeline, Target};
use super::pool::PoolBuilder;
use super::python::{lower, repr};
use super::reference::{Condition, Reference};
use super::selector::Selector;
use super::slots::Slots;
use super::source::{self, Item, SourceError};

/// What kind of failure it is, by the name of the client's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadErrorKind {
    /// The mapping is not there (yet): not a verdict on the mapping itself.
    Absent,
    /// It cannot be read or compiled.
    Mapping,
    /// An expression in its header uses what rules may not use.
    MappingFormat,
    /// An expression in its header is not Python.
    Syntax,
    /// A required field of its header is missing.
    MissingHeaderKey,
    /// Its checksum is missing or wrong.
    Checksum,
    /// Its instrument has no support in the client.
    Instrument,
}

/// A mapping cannot be used; the text is the client's wherever that has one of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct LoadError {
    kind: LoadErrorKind,
    text: String,
}

impl LoadError {
    /// An error of a kind with its text.
    pub fn new(kind: LoadErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// The error that a mapping is not there.
    pub fn absent(name: &str) -> Self {
        Self::new(
            LoadErrorKind::Absent,
            format!("the mapping '{name}' is not there"),
        )
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> LoadErrorKind {
        self.kind
    }

    /// The name of the client's class of errors.
    pub fn class(&self) -> &'static str {
        match self.kind {
            LoadErrorKind::Absent => "IOError",
            LoadErrorKind::Mapping => "MappingError",
            LoadErrorKind::MappingFormat => "MappingFormatError",
            LoadErrorKind::Syntax => "SyntaxError",
            LoadErrorKind::MissingHeaderKey => "MissingHeaderKeyError",
            LoadErrorKind::Checksum => "ChecksumError",
            LoadErrorKind::Instrument => "CrdsUnknownInstrumentError",
        }
    }
}

/// The last component of a path.
pub(crate) fn basename(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// What follows the last dot of a name: by it alone the level of a mapping is known.
fn extension(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or("")
}

/// Reads and compiles a mapping. A wrong checksum is remembered in the mapping.
pub(crate) fn load(name: &str, text: &str) -> Result<Mapping, LoadError> {
    let text = source::normalize_lines(text);
    let cannot = |message: String| {
        LoadError::new(
            LoadErrorKind::Mapping,
            format!("Can't load file {name} : {message}"),
        )
    };
    let source = source::read(&text).map_err(|error| match error {
        SourceError::Syntax(problem) => {
            let at = problem.locate(&text);
            cannot(format!(
                "{}:{}: {} (column {})",
                basename(name),
                at.line,
                at.what,
                at.column
            ))
        }
        SourceError::Message(message) => cannot(message),
    })?;
    let header = source.header.ok_or_else(|| cannot("'header'".to_owned()))?;
    let Item::Dict(header) = header else {
        return Err(cannot("the header is not a dictionary".to_owned()));
    };
    let fields = Fields(header);
    let selector = source.selector.ok_or_else(|| cannot("'selector'".to_owned()))?;
    let checksum = check(name, &text, &fields);
    match selector {
        Item::Call(call) => {
            let mut builder = Builder {
                pool: PoolBuilder::new(&text),
                slots: Slots::default(),
            };
            let parkey = fields
                .get("parkey")
                .ok_or_else(|| cannot("'parkey'".to_owned()))?;
            let (selector, columns) = builder.selector(&fields, parkey, *call).map_err(cannot)?;
            fields.require(&["observatory", "instrument", "filekind"])?;
            let reference = builder.reference(name, &fields, selector, columns)?;
            Ok(Mapping::new(
                name,
                Target::Reference(Box::new(reference)),
                checksum,
            ))
        }
        Item::Dict(pairs) if extension(name) == "rmap" => {
            fields.require(&["observatory", "instrument", "filekind"])?;
            let _ = pairs;
            Err(LoadError::new(
                LoadErrorKind::Mapping,
                "'dict' object has no attribute 'get_value_map'",
            ))
        }
        Item::Dict(pairs) => plain(name, &fields, &pairs, checksum),
        _ => Err(cannot("selector must be a dict or a Selector.".to_owned())),
    }
}

/// The level of a mapping is in its name; without one, in its header.
fn plain(
    name: &str,
    fields: &Fields<'_>,
    pairs: &[(Item<'_>, Item<'_>)],
    checksum: Result<(), LoadError>,
) -> Result<Mapping, LoadError> {
    let entries: Vec<(String, String)> = pairs
        .iter()
        .map(|(key, value)| (lower(&key.text()).into_owned(), value.text().into_owned()))
        .collect();
    if extension(name) == "pmap" {
        fields.require(&["observatory"])?;
        let parkey = fields.get("parkey").map(Fields::names).unwrap_or_default();
        let parkey = parkey.into_iter().next().unwrap_or_default();
        let pipeline = Pipeline::new(fields.text("observatory"), &parkey, entries);
        return Ok(Mapping::new(name, Target::Pipeline(pipeline), checksum));
    }
    fields.require(&["observatory", "instrument"])?;
    let mut keys = fields.get("parkey").map(Fields::names).unwrap_or_default();
    keys.extend(fields.get("extra_keys").map(Fields::names).unwrap_or_default());
    let instrument = Instrument::new(
        fields.text("observatory"),
        fields.text("instrument"),
        keys,
        entries,
    );
    Ok(Mapping::new(name, Target::Instrument(instrument), checksum))
}

fn check(name: &str, text: &str, fields: &Fields<'_>) -> Result<(), LoadError> {
    let base = repr(basename(name));
    let error = |what: &str| LoadError::new(LoadErrorKind::Checksum, format!("sha1sum {what} in {base}"));
    match fields.get("sha1sum") {
        None => Err(error("is missing")),
        Some(sum) if lower(&sum.text()) == source::checksum(text) => Ok(()),
        Some(_) => Err(error("mismatch")),
    }
}

/// The header of a mapping.
struct Fields<'s>(Vec<(Item<'s>, Item<'s>)>);

impl<'s> Fields<'s> {
    fn get(&self, name: &str) -> Option<&Item<'s>> {
        let (_, value) = self.0.iter().find(|(key, _)| key.as_str() == Some(name))?;
        Some(value)
    }

    /// A text by the rule for reading header values: lower case, unless it is in parentheses.
    fn text(&self, name: &str) -> String {
        match self.get(name) {
            Some(Item::Str(text)) => read(text).into_owned(),
            Some(other) => other.text().into_owned(),
            None => String::new(),
        }
    }

    fn require(&self, names: &[&str]) -> Result<(), LoadError> {
        let all = ["mapping", "parkey", "name", "derived_from"].iter().chain(names);
        match all.into_iter().find(|name| self.get(name).is_none()) {
            Some(name) => Err(LoadError::new(
                LoadErrorKind::MissingHeaderKey,
                format!("Required header key '{name}' is missing."),
            )),
            None => Ok(()),
        }
    }

    /// All texts in a value, however nested.
    fn names(item: &Item<'_>) -> Vec<String> {
        match item {
            Item::Tuple(items) | Item::List(items) => items.iter().flat_map(Fields::names).collect(),
            other => vec![other.text().into_owned()],
        }
    }
}

/// The rule for reading header values that are texts.
fn read(text: &str) -> Cow<'_, str> {
    if text.starts_with('(') && text.ends_with(')') {
        text.into()
    } else {
        lower(text)
    }
}

struct Builder<'s> {
    pool: PoolBuilder<'s>,
    slots: Slots,
}

impl<'s> Builder<'s> {
    fn selector(
        &mut self,
        fields: &Fields<'s>,
        parkey: &Item<'s>,
        call: source::Call<'s>,
    ) -> Result<(Selector, u32), String> {
        let substitutions = substitutions(fields);
        let mut compiler = Compiler {
            pool: &mut self.pool,
            slots: &mut self.slots,
            parkey,
            substitutions: &substitutions,
            columns: 0,
        };
        let selector = compiler.selector(call, 0)?;
        let columns = compiler.columns;
        Ok((selector, columns))
    }

    fn reference(
        mut self,
        name: &str,
        fields: &Fields<'s>,
        selector: Selector,
        columns: u32,
    ) -> Result<Reference, LoadError> {
        let (observatory, instrument) = (fields.text("observatory"), fields.text("instrument"));
        let keys = keys(fields, &observatory);
        let key_slots: Vec<u16> = keys.iter().map(|key| self.slots.parameter(key)).collect();
        let expression_error = |error| match error {
            ExpressionError::Syntax(what) => LoadError::new(
                LoadErrorKind::Syntax,
                format!("invalid syntax in an expression of '{}': {what}", basename(name)),
            ),
            ExpressionError::ForgottenComma => LoadError::new(
                LoadErrorKind::Syntax,
                "invalid syntax. Perhaps you forgot a comma? (<unknown>, line 1)",
            ),
            ExpressionError::Forbidden(what) => LoadError::new(
                LoadErrorKind::MappingFormat,
                format!("Can't load file '{}' : {what}", basename(name)),
            ),
        };
        let default = |field: &str, default: &str| match fields.get(field) {
            Some(_) => fields.text(field),
            None => default.to_owned(),
        };
        let relevance = default("rmap_relevance", "always").replace("always", "True");
        let relevance = self.expression(&relevance, &keys).map_err(expression_error)?;
        let omit = match fields.get("rmap_omit") {
            Some(_) => Some(
                self.expression(&fields.text("rmap_omit"), &keys)
                    .map_err(expression_error)?,
            ),
            None => None,
        };
        let conditions = self
            .conditions(fields, &keys, &key_slots)
            .map_err(expression_error)?;
        if !known_instrument(&observatory, &instrument) {
            let what = format!("the client knows no instrument '{instrument}' of '{observatory}'");
            return Err(LoadError::new(LoadErrorKind::Instrument, what));
        }
        let filekind = fields.text("filekind");
        let hook = |which: &str| {
            let name = match fields.get("hooks") {
                Some(Item::Dict(hooks)) if !hooks.is_empty() => hooks
                    .iter()
                    .find(|(key, _)| key.as_str() == Some(which))
                    .map_or_else(|| which.to_owned(), |(_, hook)| hook.text().into_owned()),
                _ => format!("{which}_{instrument}_{filekind}_v1"),
            };
            Hook::find(&observatory, &instrument, &name)
        };
        let (precondition, fallback) = (hook("precondition_header"), hook("fallback_header"));
        for hook in [precondition, fallback].into_iter().flatten() {
            hook.reserve(&mut self.slots);
        }
        let required = lower(&default("reffile_required", "none")).into_owned();
        let merge_overlaps = fields.get("merge_overlaps").is_none_or(|value| {
            let value = value.text().to_uppercase();
            value == "TRUE" || value == "1"
        });
        let do_not_reprocess = (observatory == "hst").then(|| {
            let detector = self.slots.parameter("DETECTOR");
            (detector, self.slots.parameter("CCDGAIN"))
        });
        Ok(Reference {
            instrument,
            filekind,
            keys,
            key_slots,
            slots: self.slots.finish(),
            pool: self.pool.finish(),
            selector,
            columns,
            relevance,
            omit,
            conditions,
            precondition,
            fallback,
            required: required == "yes" || required == "none",
            merge_overlaps,
            do_not_reprocess,
        })
    }

    fn expression(&mut self, source: &str, keys: &[String]) -> Result<Expression, ExpressionError> {
        let mut source = source.to_owned();
        for key in keys.iter().filter(|key| key.contains('.')) {
            source = source.replace(key.as_str(), &key.replace('.', "_"));
        }
        Expression::parse(&source, &mut self.slots)
    }

    /// `parkey_relevance` and `comment_parkeys`, for the keys that they name.
    fn conditions(
        &mut self,
        fields: &Fields<'s>,
        keys: &[String],
        key_slots: &[u16],
    ) -> Result<Vec<Condition>, ExpressionError> {
        let comments: Vec<String> = fields
            .get("comment_parkeys")
            .map(Fields::names)
            .unwrap_or_default()
            .iter()
            .map(|name| lower(name).into_owned())
            .collect();
        let mut compiled = Vec::new();
        if let Some(Item::Dict(pairs)) = fields.get("parkey_relevance") {
            for (name, source) in pairs {
                let mut expression = self.expression(&source.text(), keys)?;
                expression.define("keep_comments", &Constant::Bool(false));
                compiled.push((lower(&name.text()).into_owned(), expression));
            }
        }
        let mut conditions = Vec::new();
        for (key, &slot) in keys.iter().zip(key_slots) {
            let key = lower(key);
            let expression = if comments.iter().any(|comment| *comment == *key) {
                Some(Expression::Constant(Constant::Bool(false)))
            } else {
                let found = compiled.iter().rev().find(|(name, _)| *name == *key);
                found.map(|(_, expression)| expression.clone())
            };
            conditions.extend(expression.map(|expression| Condition { slot, expression }));
        }
        Ok(conditions)
    }
}

/// The parameters that an rmap asks for (spec/crds-rules 14).
fn keys(fields: &Fields<'_>, observatory: &str) -> Vec<String> {
    let mut keys = fields.get("parkey").map(Fields::names).unwrap_or_default();
    if fields.get("reffile_switch").is_some() {
        let switch = fields.text("reffile_switch").to_uppercase();
        if switch != "NONE" {
            keys.push(switch);
        }
    }
    keys.extend(fields.get("extra_keys").map(Fields::names).unwrap_or_default());
    if observatory == "jwst" {
        keys.push("META.VISIT.TSOVISIT".to_owned());
        keys.push("META.INSTRUMENT.LAMP_STATE".to_owned());
    }
    keys
}

/// The built-in table of substitutions with that of the header over it.
fn substitutions<'s>(fields: &Fields<'s>) -> Substitutions<'s> {
    let generic = || vec![(Item::Str("GENERIC".into()), Item::Str("N/A".into()))];
    let mut tables: Substitutions<'s> = vec![
        ("META.SUBARRAY.NAME".into(), generic()),
        ("SUBARRAY".into(), generic()),
    ];
    if let Some(Item::Dict(own)) = fields.get("substitutions") {
        for (name, table) in own {
            let (Item::Str(name), Item::Dict(table)) = (name, table) else {
                continue;
            };
            tables.retain(|(other, _)| other != name);
            tables.push((name.clone(), table.clone()));
        }
    }
    tables
}

/// Whether the client has a module for the instrument (spec/crds-rules 6, step 5).
fn known_instrument(observatory: &str, instrument: &str) -> bool {
    match observatory {
        "hst" => matches!(
            instrument,
            "acs" | "cos" | "nicmos" | "stis" | "synphot" | "wfc3" | "wfpc2"
        ),
        "jwst" => matches!(
            instrument,
            "fgs" | "miri" | "nircam" | "niriss" | "nirspec" | "system"
        ),
        "roman" => instrument == "wfi",
        "tobs" => instrument == "tinstr",
        _ => false,
    }
}
