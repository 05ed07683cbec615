//! Loading of mappings: the order of checks and the texts of errors (spec/crds-rules 5 and 6).

use std::borrow::Cow;

use crate::rules::compile::Compiler;
use crate::rules::compile::substitute::Substitutions;
use crate::rules::eval::expression::{Constant, Expression, ExpressionError};
use crate::rules::eval::hooks::Hook;
use crate::rules::eval::rmap::{Condition, Reference};
use crate::rules::lookup::mapping::{Instrument, Mapping, Pipeline, Target};
use crate::rules::model::selector::Selector;
use crate::rules::model::slots::Slots;
use crate::rules::syntax::arena::Arena;
use crate::rules::syntax::ast::{Item, Parts, Tree};
use crate::rules::syntax::checksum::checksum;
use crate::rules::syntax::error::{LoadError, LoadErrorKind};
use crate::rules::syntax::fields::Fields;
use crate::rules::syntax::kind::Kind;
use crate::rules::syntax::parser::{self, SourceError};
use crate::rules::values::jwst::annotate;
use crate::rules::values::python::{lower, repr};

/// The last component of a path.
pub(crate) fn basename(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The part of a name after its last dot: by it alone the level of a mapping is known.
fn extension(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or("")
}

impl Mapping {
    /// Reads and compiles the text of a mapping. `name` is the name it was asked for by, which decides what kind of
    /// mapping it is and appears in messages.
    ///
    /// A wrong or missing checksum is no error here: see [`Mapping::checksum`].
    pub fn load<'t>(name: &str, text: impl Into<Cow<'t, str>>) -> Result<Self, LoadError> {
        load(name, text.into())
    }
}

/// Reads and compiles a mapping. A wrong checksum is remembered in the mapping.
fn load(name: &str, text: Cow<'_, str>) -> Result<Mapping, LoadError> {
    let text = parser::normalize_lines(text);
    let cannot = |message: String| unreadable(name, &message);
    let source = read_source(name, &text)?;
    let header = source.header.ok_or_else(|| cannot("'header'".to_owned()))?;
    let Item::Dict(header) = header else {
        return Err(cannot("the header is not a dictionary".to_owned()));
    };
    let tree = source.tree;
    let fields = Fields { header, tree: &tree };
    let selector = source.selector.ok_or_else(|| cannot("'selector'".to_owned()))?;
    let checksum = check(name, &text, fields);
    match selector {
        Item::Call(kind, entries) => {
            let mut builder = Builder {
                header,
                tree,
                slots: Slots::default(),
            };
            let selected = builder.selector(kind, entries);
            let (selector, columns) = selected.map_err(|message| {
                let jwst = builder.fields().text("observatory") == "jwst";
                cannot(if jwst { annotate(&message) } else { message })
            })?;
            let (mut reference, added) = builder.reference(name, selector, columns)?;
            reference.arena = Arena::new(text, &added);
            Ok(Mapping::new(
                name,
                Target::Reference(Box::new(reference)),
                checksum,
            ))
        }
        Item::Dict(_) if extension(name) == "rmap" => {
            fields.require(&["observatory", "instrument", "filekind"])?;
            Err(LoadError::new(
                LoadErrorKind::Mapping,
                "'dict' object has no attribute 'get_value_map'",
            ))
        }
        Item::Dict(pairs) => plain(name, fields, pairs, checksum),
        _ => Err(cannot("selector must be a dict or a Selector.".to_owned())),
    }
}

/// The level of a mapping is in its name; without one, in its header.
fn plain(
    name: &str,
    fields: Fields<'_, '_>,
    pairs: Parts,
    checksum: Result<(), LoadError>,
) -> Result<Mapping, LoadError> {
    let text = |item| fields.tree.text(item);
    let entries: Vec<(String, String)> = fields
        .tree
        .pairs(pairs)
        .map(|(key, value)| (lower(&text(key)).into_owned(), text(value).into_owned()))
        .collect();
    if extension(name) == "pmap" {
        fields.require(&["observatory"])?;
        let parkey = fields.iterated("parkey")?;
        let parkey = parkey.into_iter().next().unwrap_or_default();
        let pipeline = Pipeline::new(&parkey, entries);
        return Ok(Mapping::new(name, Target::Pipeline(pipeline), checksum));
    }
    fields.require(&["observatory", "instrument"])?;
    let mut keys = fields.iterated("parkey")?;
    keys.extend(fields.iterated("extra_keys")?);
    let instrument = Instrument::new(fields.text("instrument"), keys, entries);
    Ok(Mapping::new(name, Target::Instrument(instrument), checksum))
}

fn check(name: &str, text: &str, fields: Fields<'_, '_>) -> Result<(), LoadError> {
    let base = repr(basename(name));
    let error = |what: &str| LoadError::new(LoadErrorKind::Checksum, format!("sha1sum {what} in {base}"));
    match fields.get("sha1sum") {
        None | Some(Item::None) => Err(error("is missing")),
        Some(sum) if lower(&fields.tree.text(sum)) == checksum(text) => Ok(()),
        Some(_) => Err(error("mismatch")),
    }
}

/// Reads the sections of a mapping. `text` has normal line ends.
pub(crate) fn read_source<'t>(name: &str, text: &'t str) -> Result<parser::Source<'t>, LoadError> {
    parser::read(text).map_err(|error| match error {
        SourceError::Syntax(problem) => {
            let at = problem.locate(text);
            let (base, line, what, column) = (basename(name), at.line, at.what, at.column);
            unreadable(name, &format!("{base}:{line}: {what} (column {column})"))
        }
        SourceError::Message(message) => unreadable(name, &message),
    })
}

/// The error of a mapping that cannot be read or compiled.
pub(crate) fn unreadable(name: &str, message: &str) -> LoadError {
    LoadError::new(
        LoadErrorKind::Mapping,
        format!("Can't load file {name} : {message}"),
    )
}

/// Whether equally good rows of a Match are merged: unless the header says no.
fn merges_overlaps(fields: Fields<'_, '_>) -> bool {
    fields.get("merge_overlaps").is_none_or(|value| {
        let value = fields.tree.text(value).to_uppercase();
        value == "TRUE" || value == "1"
    })
}

/// The name of a hook: the header's, else the one that goes by instrument and type.
fn hook_name(fields: Fields<'_, '_>, which: &str, instrument: &str, filekind: &str) -> String {
    match fields.get("hooks") {
        Some(Item::Dict(hooks)) if !hooks.places().is_empty() => {
            let mut pairs = fields.tree.pairs(hooks);
            let named = pairs.find(|(key, _)| fields.tree.as_str(*key) == Some(which));
            named.map_or_else(
                || which.to_owned(),
                |(_, hook)| fields.tree.text(hook).into_owned(),
            )
        }
        _ => format!("{which}_{instrument}_{filekind}_v1"),
    }
}

struct Builder<'s> {
    header: Parts,
    tree: Tree<'s>,
    slots: Slots,
}

impl<'s> Builder<'s> {
    fn selector(&mut self, kind: Kind, entries: Parts) -> Result<(Selector, u32), String> {
        let parkey = self.fields().get("parkey").ok_or("'parkey'")?;
        self.fields().check_lists()?;
        let substitutions = substitutions(self.header, &mut self.tree);
        let mut compiler = Compiler::new(&mut self.tree, &mut self.slots, parkey, &substitutions);
        let selector = compiler.selector(kind, entries, 0)?;
        Ok((selector, compiler.columns))
    }

    fn fields(&self) -> Fields<'_, 's> {
        Fields {
            header: self.header,
            tree: &self.tree,
        }
    }

    /// The rules, which still need the arena, and what is to be added to it.
    fn reference(
        self,
        name: &str,
        selector: Selector,
        columns: u32,
    ) -> Result<(Reference, String), LoadError> {
        let fields = Fields {
            header: self.header,
            tree: &self.tree,
        };
        let mut slots = self.slots;
        fields.require(&["observatory", "instrument", "filekind"])?;
        fields.check_types()?;
        let (observatory, instrument) = (fields.text("observatory"), fields.text("instrument"));
        let keys = keys(fields, &observatory);
        let key_slots: Vec<u16> = keys.iter().map(|key| slots.parameter(key)).collect();
        let expression_error = |error| expression_error(name, error);
        let default = |field: &str, default: &str| match fields.get(field) {
            Some(_) => fields.text(field),
            None => default.to_owned(),
        };
        let relevance_source = default("rmap_relevance", "always");
        let relevance = relevance_source.replace("always", "True");
        let relevance = expression(&relevance, &keys, &mut slots).map_err(expression_error)?;
        let omit = fields.get("rmap_omit").map(|_| fields.text("rmap_omit"));
        let omit = omit.map(|text| expression(&text, &keys, &mut slots));
        let omit = omit.transpose().map_err(expression_error)?;
        let conditions = conditions(fields, &keys, &key_slots, &mut slots).map_err(expression_error)?;
        if !known_instrument(&observatory, &instrument) {
            let what = format!("the client knows no instrument '{instrument}' of '{observatory}'");
            return Err(LoadError::new(LoadErrorKind::Instrument, what));
        }
        let filekind = fields.text("filekind");
        let hook = |which: &str| {
            let name = hook_name(fields, which, &instrument, &filekind);
            Hook::find(&observatory, &instrument, &name)
        };
        let (precondition, fallback) = (hook("precondition_header"), hook("fallback_header"));
        for hook in [precondition, fallback].into_iter().flatten() {
            hook.reserve(&mut slots);
        }
        let required = lower(&default("reffile_required", "none")).into_owned();
        let do_not_reprocess = (observatory == "hst").then(|| {
            let detector = slots.parameter("DETECTOR");
            (detector, slots.parameter("CCDGAIN"))
        });
        let reference = Reference {
            instrument,
            filekind,
            keys,
            key_slots,
            slots: slots.finish(),
            arena: Arena::default(),
            selector,
            columns,
            relevance,
            relevance_source: relevance_source.into(),
            omit,
            conditions,
            precondition,
            fallback,
            required: required == "yes" || required == "none",
            merge_overlaps: merges_overlaps(fields),
            do_not_reprocess,
        };
        Ok((reference, self.tree.arena.finish()))
    }
}

fn expression_error(name: &str, error: ExpressionError) -> LoadError {
    match error {
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
    }
}

fn expression(source: &str, keys: &[String], slots: &mut Slots) -> Result<Expression, ExpressionError> {
    let mut source = Cow::Borrowed(source);
    for key in keys.iter().filter(|key| key.contains('.')) {
        if source.contains('.') {
            source = source.replace(key.as_str(), &key.replace('.', "_")).into();
        }
    }
    Expression::parse(&source, slots)
}

/// `parkey_relevance` and `comment_parkeys`, for the keys that they name.
fn conditions(
    fields: Fields<'_, '_>,
    keys: &[String],
    key_slots: &[u16],
    slots: &mut Slots,
) -> Result<Vec<Condition>, ExpressionError> {
    let comments = fields.iterated("comment_parkeys").unwrap_or_default();
    let comments: Vec<Cow<'_, str>> = comments.iter().map(|name| lower(name)).collect();
    let mut compiled = Vec::new();
    if let Some(Item::Dict(pairs)) = fields.get("parkey_relevance") {
        for (name, source) in fields.tree.pairs(pairs) {
            // A comment has an expression of the client's own; its source is never read.
            let name = fields.tree.text(name);
            if comments.contains(&name) {
                continue;
            }
            let source = fields.tree.text(source);
            let mut expression = expression(&source, keys, slots)?;
            expression.define("keep_comments", &Constant::Bool(false));
            compiled.push((lower(&name).into_owned(), expression, source));
        }
    }
    let mut conditions = Vec::new();
    for (key, &slot) in keys.iter().zip(key_slots) {
        let key = lower(key);
        let condition = if comments.contains(&key) {
            let never = Expression::Constant(Constant::Bool(false));
            Some((never, "it is one of the comment_parkeys".into()))
        } else {
            let found = compiled.iter().rev().find(|(name, ..)| *name == *key);
            found.map(|(_, expression, source)| (expression.clone(), source.as_ref().into()))
        };
        conditions.extend(condition.map(|(expression, source)| Condition {
            slot,
            expression,
            source,
        }));
    }
    Ok(conditions)
}

/// The parameters that an rmap asks for (spec/crds-rules 14).
fn keys(fields: Fields<'_, '_>, observatory: &str) -> Vec<String> {
    let mut keys = fields.names("parkey");
    if fields.get("reffile_switch").is_some() {
        let switch = fields.text("reffile_switch").to_uppercase();
        if switch != "NONE" {
            keys.push(switch);
        }
    }
    keys.extend(fields.iterated("extra_keys").unwrap_or_default());
    if observatory == "jwst" {
        keys.push("META.VISIT.TSOVISIT".to_owned());
        keys.push("META.INSTRUMENT.LAMP_STATE".to_owned());
    }
    keys
}

/// The built-in table of substitutions with that of the header over it.
fn substitutions(header: Parts, tree: &mut Tree<'_>) -> Substitutions {
    let generic = Item::Str(tree.arena.add("GENERIC"));
    let generic = vec![(generic, Item::Str(tree.arena.add("N/A")))];
    let mut tables: Substitutions = vec![
        ("META.SUBARRAY.NAME".into(), generic.clone()),
        ("SUBARRAY".into(), generic),
    ];
    let tree = &*tree;
    let own = Fields { header, tree }.get("substitutions");
    if let Some(Item::Dict(own)) = own {
        for (name, table) in tree.pairs(own) {
            let (Item::Str(name), Item::Dict(table)) = (name, table) else {
                continue;
            };
            let name = tree.arena.get(name);
            tables.retain(|(other, _)| other != name);
            tables.push((name.to_owned(), tree.pairs(table).collect()));
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
