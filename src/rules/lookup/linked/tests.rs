use super::*;
use crate::crds::Observatory;

fn rmap(name: &str) -> Arc<Mapping> {
    let text =
        "header = {'mapping': 'REFERENCE', 'observatory': 'HST', 'instrument': 'ACS', 'filekind': 'DARKFILE',
        'name': 'x', 'derived_from': 'y', 'parkey': (('DETECTOR',), ('DATE-OBS',))}
selector = Match({('WFC',): UseAfter({'2000-01-01 00:00:00': 'a.fits'})})";
    Arc::new(Mapping::load(name, text).unwrap())
}

fn naming(parkey: &str) -> Naming {
    Naming {
        observatory: Observatory::Hst,
        parkey: Some(parkey.to_owned()),
    }
}

#[test]
fn the_same_rmaps_are_put_together_once() {
    let (one, other) = (
        rmap("hst_acs_darkfile_0001.rmap"),
        rmap("hst_acs_darkfile_0001.rmap"),
    );
    let entries = |rmap: &Arc<Mapping>| {
        vec![
            ("darkfile".to_owned(), LinkedEntry::Rmap(rmap.clone())),
            ("biasfile".to_owned(), LinkedEntry::NotApplicable),
        ]
    };
    let last = LastMade::default();
    let make = |parkey: &str, entries| Linked::shared(&last, &naming(parkey), &[], entries);
    let first = make("INSTRUME", entries(&one));
    assert!(Arc::ptr_eq(&first, &make("INSTRUME", entries(&one))));
    let mut fewer = entries(&one);
    fewer.pop();
    let mut omitted = entries(&one);
    omitted[1].1 = LinkedEntry::Omitted;
    for different in [
        make("INSTRUMENT", entries(&one)),
        make("INSTRUME", entries(&other)),
        make("INSTRUME", fewer),
        make("INSTRUME", omitted),
    ] {
        assert_ne!(different.deciding.id, first.deciding.id);
    }
    let again = make("INSTRUME", entries(&one));
    let id = again.deciding.id;
    drop((again, first));
    assert_ne!(
        make("INSTRUME", entries(&one)).deciding.id,
        id,
        "what nobody uses is forgotten"
    );
}
