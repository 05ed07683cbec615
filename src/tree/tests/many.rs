//! A hundred thousand names.

use super::*;

const COUNT: usize = 100_000;

#[tokio::test]
async fn a_hundred_thousand_names_cost_no_nodes() {
    let names = (0..COUNT)
        .map(|number| format!("n{number:07}j_drk.fits"))
        .collect();
    let fixture = Making {
        names: Some(names),
        ..Making::default()
    }
    .make();
    let ino = fixture.ino("references/hst").await;
    let (handle, _) = fixture.tree.opendir(CALLER, ino).wait().await.unwrap();
    let (mut seen, mut offset) = (0, 0);
    loop {
        let before = seen;
        // About as many as fit into one reply of the kernel's buffer size.
        let mut room = 30;
        let ahead = now(fixture.tree.look_ahead(handle, offset)).unwrap();
        fixture
            .tree
            .readdirplus(ahead, offset, &mut |entry, attr, _| {
                if room == 0 {
                    return false;
                }
                room -= 1;
                offset = entry.next;
                seen += 1;
                assert_eq!(entry.ino, attr.ino);
                true
            })
            .unwrap();
        if seen == before {
            break;
        }
    }
    fixture.tree.releasedir(handle);
    assert_eq!(seen, COUNT + 2);
    for number in 0..COUNT {
        let name = format!("n{number:07}j_drk.fits");
        let found = now(fixture.tree.lookup(CALLER, ino, OsStr::new(&name))).unwrap();
        let Lookup::Found { attr, .. } = found else {
            panic!("{name} is not there")
        };
        assert_eq!(attr.size, contents(&name).len() as u64);
        now(fixture.tree.getattr(CALLER, attr.ino, None)).unwrap();
    }
    assert_eq!(fixture.tree.core.nodes.len(), 0);
    let view = fixture.tree.core.view(Observatory::Hst).unwrap();
    let per_name = view.catalog().heap_bytes() / COUNT;
    assert!(per_name < 100, "{per_name} bytes for each name");
    assert_eq!(fixture.downloads(), 0);
}
