//! A small observatory, written as an ordinary CRDS cache: rules that the Python client accepts, references of every
//! extension, and the datasets file that answers for an archive.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};

use crate::crds::{ServerInfo, Sha1Sum};

/// The datasets file's name below the directory.
pub(super) const DATASETS: &str = "datasets.json";

/// The context that is the default.
pub(super) const CONTEXT: &str = "roman_0002.pmap";

/// The context before it, with another flat.
pub(super) const OLD_CONTEXT: &str = "roman_0001.pmap";

/// Rules that were withdrawn. The server's list of bad files names them, so that every best reference is checked for bad
/// rules behind it.
const BAD_RULES: &str = "roman_wfi_dark_0000.rmap";

/// One dataset of each kind that there is: two detectors, and one exposure that needs no flat.
pub(super) const DATASETS_BY_KIND: [(&str, &str, &str); 3] = [
    ("R0000101001001001001_0001.WFI01", "WFI01", "WFI_IMAGE"),
    ("R0000101001001001001_0001.WFI16", "WFI16", "WFI_IMAGE"),
    ("R0000202001001001001_0002.WFI01", "WFI01", "WFI_SPECTRAL"),
];

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A reference type: its name and, by detector, its references. `image_only` types do not apply to spectra.
struct Type {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    image_only: bool,
}

const fn of_detectors(name: &'static str, files: &'static [(&'static str, &'static str)]) -> Type {
    Type {
        name,
        files,
        image_only: false,
    }
}

const FLAT: Type = Type {
    name: "flat",
    files: &[("WFI01|WFI16", "roman_wfi_flat_0002.asdf")],
    image_only: true,
};
const OLD_FLAT: Type = Type {
    name: "flat",
    files: &[("WFI01|WFI16", "roman_wfi_flat_0001.asdf")],
    image_only: true,
};

const TYPES: &[Type] = &[
    of_detectors(
        "dark",
        &[
            ("WFI01", "roman_wfi_dark_0001.asdf"),
            ("WFI16", "roman_wfi_dark_0002.asdf"),
        ],
    ),
    of_detectors("distortion", &[("WFI01|WFI16", "roman_wfi_distortion_0001.asdf")]),
    of_detectors("area", &[("WFI01|WFI16", "roman_wfi_area_0001.fits")]),
    of_detectors("mask", &[("WFI01|WFI16", "roman_wfi_mask_0001.fits")]),
    of_detectors("gain", &[("WFI01|WFI16", "roman_wfi_gain_0001.json")]),
    of_detectors("apcorr", &[("WFI01|WFI16", "roman_wfi_apcorr_0001.yaml")]),
    of_detectors("photom", &[("WFI01|WFI16", "roman_wfi_photom_0001.text")]),
    // A GEIS header, whose pixels are in a second file that no rule names.
    of_detectors("readnoise", &[("WFI01|WFI16", "roman_wfi_readnoise_0001.r4h")]),
];

/// Every reference with its size in bytes.
const REFERENCES: &[(&str, usize)] = &[
    ("roman_wfi_apcorr_0001.yaml", 2 * KIB),
    ("roman_wfi_area_0001.fits", 2912 * 2880),
    ("roman_wfi_dark_0001.asdf", 16 * MIB),
    ("roman_wfi_dark_0002.asdf", 16 * MIB),
    ("roman_wfi_distortion_0001.asdf", 200 * KIB),
    ("roman_wfi_flat_0001.asdf", MIB),
    ("roman_wfi_flat_0002.asdf", 64 * MIB),
    ("roman_wfi_gain_0001.json", KIB),
    ("roman_wfi_mask_0001.fits", 1456 * 2880),
    ("roman_wfi_photom_0001.text", 20 * KIB),
    ("roman_wfi_readnoise_0001.r4d", 2 * MIB),
    ("roman_wfi_readnoise_0001.r4h", 3 * KIB),
];

/// Writes the observatory below `root`: a cache and [`DATASETS`].
pub(super) fn write(root: &Path) -> io::Result<()> {
    let mappings = root.join("mappings/roman");
    let references = root.join("references/roman");
    fs::create_dir_all(&mappings)?;
    fs::create_dir_all(&references)?;
    for (name, text) in rules() {
        fs::write(mappings.join(name), text)?;
    }
    for (seed, (name, size)) in (1..).zip(REFERENCES) {
        reference(&references.join(name), *size, seed)?;
    }
    let config = root.join("config/roman");
    fs::create_dir_all(&config)?;
    fs::write(config.join("server_config"), description()?)?;
    fs::write(config.join("ref_cache_subdir_mode"), "flat")?;
    fs::write(root.join(DATASETS), datasets().to_string())
}

/// The `server_config` of the observatory, as a client writes it.
fn description() -> io::Result<String> {
    let info = json!({
        "observatory": "roman",
        "latest_context": CONTEXT,
        "operational_context": CONTEXT,
        "edit_context": CONTEXT,
        "versions_context": "",
        "context_history": [
            ["2026-06-01 00:00:00", CONTEXT, "A flat of 64 MiB"],
            ["2026-01-01 00:00:00", OLD_CONTEXT, "The first rules"],
        ],
        "mappings": rules().keys().collect::<Vec<_>>(),
        "bad_files_list": [BAD_RULES],
        "force_remote_mode": 0,
        "download_metadata": {},
        "last_synced": "2026-06-01 00:00:00.000000",
    });
    ServerInfo::from_json_value(info)
        .map(|info| info.to_literal())
        .map_err(io::Error::other)
}

/// The rules of both contexts, by name.
fn rules() -> BTreeMap<String, String> {
    let mut rules = BTreeMap::new();
    let rmaps: Vec<_> = TYPES.iter().map(|reftype| (reftype, "0001")).collect();
    for (reftype, serial) in rmaps
        .iter()
        .copied()
        .chain([(&OLD_FLAT, "0001"), (&FLAT, "0002")])
    {
        let name = format!("roman_wfi_{}_{serial}.rmap", reftype.name);
        let text = rmap(&name, reftype);
        rules.insert(name, text);
    }
    for (serial, flat) in [("0001", "0001"), ("0002", "0002")] {
        let imap = format!("roman_wfi_{serial}.imap");
        let entries = rmaps
            .iter()
            .map(|(reftype, serial)| (reftype.name, *serial))
            .chain([("flat", flat)]);
        let entries: BTreeMap<_, _> = entries
            .map(|(reftype, serial)| {
                (
                    reftype.to_uppercase(),
                    format!("roman_wfi_{reftype}_{serial}.rmap"),
                )
            })
            .collect();
        let text = mapping(
            &imap,
            "INSTRUMENT",
            "'instrument' : 'WFI',\n    ",
            "('REFTYPE',)",
            &entries,
        );
        rules.insert(imap.clone(), text);
        let pmap = format!("roman_{serial}.pmap");
        let entries = BTreeMap::from([("WFI".to_owned(), imap)]);
        let text = mapping(&pmap, "PIPELINE", "", "('ROMAN.META.INSTRUMENT.NAME',)", &entries);
        rules.insert(pmap, text);
    }
    rules
}

/// The text of a context or of an instrument's mapping.
fn mapping(name: &str, kind: &str, more: &str, parkey: &str, entries: &BTreeMap<String, String>) -> String {
    let lines: String = entries
        .iter()
        .map(|(key, file)| ["    '", key, "' : '", file, "',\n"].concat())
        .collect();
    with_sum(&format!(
        "header = {{\n    'derived_from' : 'the demonstration',\n    {more}'mapping' : '{kind}',\n    'name' : '{name}',\n    \
         'observatory' : 'ROMAN',\n    'parkey' : {parkey},\n    'sha1sum' : '',\n}}\n\nselector = {{\n{lines}}}\n"
    ))
}

/// The text of the rules of one type.
fn rmap(name: &str, reftype: &Type) -> String {
    let mut cases: Vec<_> = reftype
        .files
        .iter()
        .map(|(detector, file)| (*detector, "WFI_IMAGE", *file))
        .collect();
    cases.extend(reftype.files.iter().map(|(detector, file)| {
        (
            *detector,
            "WFI_SPECTRAL",
            if reftype.image_only { "N/A" } else { *file },
        )
    }));
    let cases: Vec<_> = cases
        .into_iter()
        .map(|(detector, exposure, file)| {
            format!("    ('{detector}', '{exposure}') : UseAfter({{\n        '2020-01-01 00:00:00' : '{file}',\n    }}),\n")
        })
        .collect();
    let cases = cases.concat();
    let kind = reftype.name.to_uppercase();
    with_sum(&format!(
        "header = {{\n    'classes' : ('Match', 'UseAfter'),\n    'derived_from' : 'the demonstration',\n    'filekind' : '{kind}',\n    \
         'instrument' : 'WFI',\n    'mapping' : 'REFERENCE',\n    'name' : '{name}',\n    'observatory' : 'ROMAN',\n    'parkey' : \
         (('ROMAN.META.INSTRUMENT.DETECTOR', 'ROMAN.META.EXPOSURE.TYPE'), ('ROMAN.META.EXPOSURE.START_TIME',)),\n    \
         'sha1sum' : '',\n}}\n\nselector = Match({{\n{cases}}})\n"
    ))
}

/// Puts the rule's own checksum in: that of its text without the line of the checksum (spec/crds-service 3.3).
fn with_sum(text: &str) -> String {
    let rest: String = text
        .split_inclusive('\n')
        .filter(|line| !line.contains("sha1sum"))
        .collect();
    let sum = Sha1Sum::from_bytes(Sha1::digest(rest.as_bytes()).into());
    text.replace("'sha1sum' : ''", &format!("'sha1sum' : '{sum}'"))
}

/// The answers of the archive for each dataset.
fn datasets() -> Value {
    let answers = |detector: &str, exposure: &str, flat: &'static Type| -> Map<String, Value> {
        TYPES
            .iter()
            .chain([flat])
            .map(|reftype| {
                let file = reftype
                    .files
                    .iter()
                    .find(|(detectors, _)| detectors.split('|').any(|one| one == detector));
                let answer = match file {
                    Some(_) if reftype.image_only && exposure != "WFI_IMAGE" => "NOT FOUND n/a",
                    Some((_, file)) => file,
                    None => "NOT FOUND No match found.",
                };
                (reftype.name.to_owned(), json!(answer))
            })
            .collect()
    };
    let of = |(id, detector, exposure): &(&str, &str, &str)| {
        let dataset = json!({
            "header": {
                "ROMAN.META.INSTRUMENT.NAME": "WFI",
                "ROMAN.META.INSTRUMENT.DETECTOR": detector,
                "ROMAN.META.EXPOSURE.TYPE": exposure,
                "ROMAN.META.EXPOSURE.START_TIME": "2027-01-01 00:00:00",
            },
            "bestrefs": {
                CONTEXT: answers(detector, exposure, &FLAT),
                OLD_CONTEXT: answers(detector, exposure, &OLD_FLAT),
            },
        });
        ((*id).to_owned(), dataset)
    };
    Value::Object(DATASETS_BY_KIND.iter().map(of).collect())
}

/// Writes one reference: a real head of its format, then noise up to `size` bytes, the same at every run.
fn reference(path: &Path, size: usize, seed: u64) -> io::Result<()> {
    let extension = path
        .extension()
        .and_then(std::ffi::OsStr::to_str)
        .unwrap_or_default();
    let mut noise = vec![0; size];
    let mut random = fastrand::Rng::with_seed(seed);
    let head = match extension {
        "fits" => fits_head(size),
        "asdf" => asdf_head(size),
        "r4d" => Vec::new(),
        text => return fs::write(path, text_of(text, size)),
    };
    random.fill(&mut noise);
    let mut file = fs::File::create_new(path)?;
    file.write_all(&head)?;
    file.write_all(noise.get(head.len()..).unwrap_or_default())
}

/// A file of text that is valid in its notation, blanks up to `size`.
fn text_of(extension: &str, size: usize) -> String {
    let mut text = match extension {
        "json" => "{\"reftype\": \"gain\", \"gain\": 1.8}\n".to_owned(),
        "yaml" => "reftype: apcorr\nradius: [1.0, 2.0, 3.0]\n".to_owned(),
        // The header half of a GEIS image is lines of eighty characters, without line ends.
        "r4h" => {
            card("SIMPLE  =                    F") + &card("BITPIX  =                   32") + &card("END")
        }
        _ => "# photometry\nF158 1.0\n".to_owned(),
    };
    text.extend(std::iter::repeat_n(' ', size.saturating_sub(text.len())));
    text
}

/// Eighty characters.
fn card(text: &str) -> String {
    format!("{text:<80}")
}

/// The head of a FITS image of bytes. Sizes are multiples of the format's block, 2880 bytes.
fn fits_head(size: usize) -> Vec<u8> {
    let pixels = size.saturating_sub(2880);
    let cards = [
        "SIMPLE  =                    T".to_owned(),
        "BITPIX  =                    8".to_owned(),
        "NAXIS   =                    1".to_owned(),
        format!("NAXIS1  = {pixels:>20}"),
        "TELESCOP= 'ROMAN   '".to_owned(),
        "END".to_owned(),
    ];
    let head: String = cards.iter().map(|text| card(text)).collect();
    format!("{head:<2880}").into_bytes()
}

/// The head of an ASDF file with one block of bytes that reaches to the end.
fn asdf_head(size: usize) -> Vec<u8> {
    let tree = |length: usize| {
        format!(
            "#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n--- !core/asdf-1.1.0\n\
             data: !core/ndarray-1.0.0 {{source: 0, datatype: uint8, byteorder: little, shape: [{length:>12}]}}\n...\n"
        )
    };
    // Magic, length of the block's head, flags and compression; then allocated, used and data size; no checksum.
    let mut block = b"\xd3BLK\x00\x30\0\0\0\0\0\0\0\0".to_vec();
    let length = size.saturating_sub(tree(0).len() + 54);
    for _ in 0..3 {
        block.extend_from_slice(&(length as u64).to_be_bytes());
    }
    block.extend_from_slice(&[0; 16]);
    let mut head = tree(length).into_bytes();
    head.extend_from_slice(&block);
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name in the rules and answers is one of the files, and the other way round but for the GEIS data.
    fn has_extension(name: &str, extension: &str) -> bool {
        name.rsplit_once('.').is_some_and(|(_, found)| found == extension)
    }

    #[test]
    fn the_parts_fit() {
        let rules = rules();
        let named = |name: &str| rules.values().any(|text| text.contains(&format!("'{name}'")));
        for name in rules.keys().filter(|name| !has_extension(name, "pmap")) {
            assert!(
                rules
                    .iter()
                    .any(|(other, text)| other != name && text.contains(name.as_str())),
                "{name}"
            );
        }
        for (name, _) in REFERENCES {
            assert!(named(name) || has_extension(name, "r4d"), "{name}");
        }
        let files = |name: &str| REFERENCES.iter().any(|(file, _)| *file == name);
        for dataset in datasets().as_object().unwrap().values() {
            for types in dataset["bestrefs"].as_object().unwrap().values() {
                for answer in types.as_object().unwrap().values() {
                    let answer = answer.as_str().unwrap();
                    assert!(files(answer) || answer == "NOT FOUND n/a", "{answer}");
                }
            }
        }
    }

    #[test]
    fn sums_are_those_of_the_text_without_their_line() {
        let text = with_sum("a\n'sha1sum' : '',\nb\n");
        let sum = Sha1Sum::from_bytes(Sha1::digest(b"a\nb\n").into());
        assert_eq!(text, format!("a\n'sha1sum' : '{sum}',\nb\n"));
    }

    #[test]
    fn files_have_the_size_they_should() {
        let directory = tempfile::TempDir::new().unwrap();
        write(directory.path()).unwrap();
        for (name, size) in REFERENCES {
            let path = directory.path().join("references/roman").join(name);
            assert_eq!(fs::metadata(path).unwrap().len(), *size as u64, "{name}");
        }
        let asdf = fs::read(directory.path().join("references/roman/roman_wfi_flat_0001.asdf")).unwrap();
        let block = asdf.windows(4).position(|window| window == b"\xd3BLK").unwrap();
        let used = u64::from_be_bytes(asdf[block + 22..block + 30].try_into().unwrap());
        assert_eq!(block as u64 + 54 + used, asdf.len() as u64);
    }
}
