//! A store that several have open at the same time, each with a state of its own.

use std::time::Duration;

use super::super::moments::Moment;
use super::*;

mod sharing;

/// A directory for a shared store, and one for the state of those who use it.
struct Place {
    dir: TempDir,
    state: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            state: TempDir::new().unwrap(),
        }
    }

    fn options(&self) -> StoreOptions {
        StoreOptions {
            sharing: Sharing::Shared,
            state: Some(self.state.path().to_owned()),
            ..options()
        }
    }

    fn open(&self) -> DiskStore {
        DiskStore::open(self.dir.path(), self.options()).unwrap()
    }

    /// The names in a directory below `.crds-fs`.
    fn own(&self, directory: &str) -> Vec<std::ffi::OsString> {
        let names = fs::read_dir(self.dir.path().join(".crds-fs").join(directory));
        names
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name())
            .collect()
    }
}

/// As if the state lay on another disk.
fn open_apart(place: &Place) -> DiskStore {
    let mut store = place.open();
    let disk = Arc::get_mut(&mut store.disk).unwrap();
    let Access::Shared(shared) = &mut disk.access else {
        panic!("not shared")
    };
    shared.pretend_other_disk();
    store
}

#[test]
fn what_one_brings_others_find_and_check_once() {
    for open in [Place::open, open_apart as fn(&Place) -> DiskStore] {
        let place = Place::new();
        let rule = key("hst_0001.pmap");
        let (one, other) = (open(&place), open(&place));
        assert!(matches!(
            other.open(&rule, entry(b"good")).unwrap(),
            Found::Absent
        ));
        put(&one, &rule, b"good").unwrap();
        catalogued(&one.open(&rule, entry(b"good")).unwrap());
        assert!(matches!(
            other.open(&rule, entry(b"good")).unwrap(),
            Found::Unverified
        ));
        catalogued(&other.verify(&rule, entry(b"good")).unwrap());
        catalogued(&other.open(&rule, entry(b"good")).unwrap());
        assert_eq!(fs::read(path(&place.dir, &rule)).unwrap(), b"good");
        assert!(place.own("incoming").is_empty());
        assert!(place.own("partial").is_empty() && place.own("verified").is_empty());
        // Each remembers what it has verified, whichever comes first.
        drop((one, other));
        for store in [place.open(), place.open()] {
            catalogued(&store.open(&rule, entry(b"good")).unwrap());
        }
    }
}

#[test]
fn who_comes_second_keeps_what_openers_have_and_leaves_the_name_to_the_first() {
    for open in [Place::open, open_apart as fn(&Place) -> DiskStore] {
        let place = Place::new();
        let rule = key("hst_0001.pmap");
        let (one, other) = (open(&place), open(&place));
        other.list(Observatory::Hst).unwrap();
        put(&one, &rule, b"good").unwrap();
        let first = fs::metadata(path(&place.dir, &rule)).unwrap().ino();
        let second = put(&other, &rule, b"good").unwrap();
        assert_eq!(bytes_of(&second), b"good");
        assert_eq!(fs::metadata(path(&place.dir, &rule)).unwrap().ino(), first);
        assert!(matches!(
            other.open(&rule, entry(b"good")).unwrap(),
            Found::Unverified
        ));
        assert!(place.own("incoming").is_empty() && place.own("quarantine").is_empty());
    }
}

/// Otherwise every file that somebody has open would be another one to the kernel as soon as it lies in the store.
#[test]
fn an_open_file_is_shared_while_it_is_copied_into_the_store_and_afterwards() {
    let place = Place::new();
    let store = open_apart(&place);
    let rule = key("hst_0001.pmap");
    let first = put(&store, &rule, b"good").unwrap();
    let second = store.open(&rule, entry(b"good")).unwrap();
    let inode = |file: &File| file.metadata().unwrap().ino();
    assert_eq!(inode(catalogued(&second)), inode(&first));
    assert_ne!(
        inode(&first),
        fs::metadata(path(&place.dir, &rule)).unwrap().ino()
    );
    drop((first, second));
    let third = store.open(&rule, entry(b"good")).unwrap();
    assert_eq!(
        inode(catalogued(&third)),
        fs::metadata(path(&place.dir, &rule)).unwrap().ino()
    );
}

#[test]
fn a_part_that_another_client_is_writing_stays_and_publication_waits_for_its_end() {
    let place = Place::new();
    let store = place.open();
    let rule = key("hst_0001.pmap");
    fs::create_dir_all(place.dir.path().join("mappings/hst")).unwrap();
    fs::write(path(&place.dir, &rule), b"go").unwrap();
    assert!(matches!(
        store.open(&rule, entry(b"good")).unwrap(),
        Found::Absent
    ));
    let given = put(&store, &rule, b"good").unwrap();
    assert_eq!(bytes_of(&given), b"good");
    catalogued(&store.open(&rule, entry(b"good")).unwrap());
    assert_eq!(fs::read(path(&place.dir, &rule)).unwrap(), b"go");
    // Its client has given up.
    fs::remove_file(path(&place.dir, &rule)).unwrap();
    drop(given);
    drop(store);
    assert_eq!(fs::read(path(&place.dir, &rule)).unwrap(), b"good");
    assert!(place.own("quarantine").is_empty());
}

#[test]
fn an_old_part_and_a_wrong_file_are_set_aside() {
    let place = Place::new();
    let store = place.open();
    fs::create_dir_all(place.dir.path().join("mappings/hst")).unwrap();
    let (part, wrong) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    fs::write(path(&place.dir, &part), b"go").unwrap();
    let long_ago = SystemTime::now() - std::time::Duration::from_secs(3600);
    File::open(path(&place.dir, &part))
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    fs::write(path(&place.dir, &wrong), b"evil").unwrap();
    assert!(matches!(
        store.open(&part, entry(b"good")).unwrap(),
        Found::Absent
    ));
    assert!(matches!(
        store.verify(&wrong, entry(b"good")).unwrap(),
        Found::Absent
    ));
    assert_eq!(place.own("quarantine").len(), 2);
}

#[test]
fn a_shared_store_and_one_alone_exclude_each_other() {
    let place = Place::new();
    let alone = open(&place.dir);
    let refused = DiskStore::open(place.dir.path(), place.options()).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    drop(alone);
    drop(open(&place.dir));
    let shared = place.open();
    let refused = DiskStore::open(place.dir.path(), options()).unwrap_err();
    assert!(refused.to_string().contains("--shared"), "{refused}");
    drop(shared);
    assert!(matches!(
        DiskStore::open(place.dir.path(), options()),
        Err(StoreError::IsShared)
    ));
}

/// A mount that makes a store without hard links creates the format file first and writes it afterwards.
#[test]
fn a_format_that_another_mount_is_about_to_write_is_awaited() {
    let place = Place::new();
    let own = place.dir.path().join(".crds-fs");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("format"), "").unwrap();
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| drop(place.open()));
        while !own.join("incoming").exists() && !opening.is_finished() {
            std::thread::yield_now();
        }
        fs::write(own.join("format"), "1\n").unwrap();
        opening.join().unwrap();
    });
}

#[test]
fn mounts_of_a_node_have_states_of_their_own_and_later_ones_use_them_again() {
    let place = Place::new();
    let states = || {
        let stores = fs::read_dir(place.state.path()).unwrap();
        let stores = stores.flat_map(|store| fs::read_dir(store.unwrap().path()).unwrap());
        stores.count()
    };
    let first = [place.open(), place.open(), place.open()];
    assert_eq!(states(), 3);
    drop(first);
    let _again = [place.open(), place.open()];
    assert_eq!(states(), 3);
    let nowhere = StoreOptions {
        state: None,
        ..place.options()
    };
    assert!(matches!(
        DiskStore::open(place.dir.path(), nowhere),
        Err(StoreError::NoState)
    ));
}

#[test]
fn new_files_have_the_group_of_their_directory_and_the_mode_of_the_process() {
    let place = Place::new();
    let mappings = place.dir.path().join("mappings/hst");
    fs::create_dir_all(&mappings).unwrap();
    let own = fs::metadata(&mappings).unwrap().gid();
    let groups = rustix::process::getgroups().unwrap();
    // Root gives any group.
    let other = groups
        .iter()
        .map(|group| group.as_raw())
        .find(|group| *group != own);
    let root = rustix::process::geteuid().is_root().then_some(own + 1);
    let group = other.or(root).unwrap_or(own);
    std::os::unix::fs::chown(&mappings, None, Some(group)).unwrap();
    fs::set_permissions(&mappings, fs::Permissions::from_mode(0o2775)).unwrap();
    let expected = {
        let new = mappings.join("new");
        fs::write(&new, "").unwrap();
        fs::metadata(new).unwrap()
    };
    for (number, open) in [Place::open, open_apart as fn(&Place) -> DiskStore]
        .into_iter()
        .enumerate()
    {
        let rule = key(&format!("hst_000{number}.pmap"));
        put(&open(&place), &rule, b"good").unwrap();
        let metadata = fs::metadata(path(&place.dir, &rule)).unwrap();
        assert_eq!(
            (metadata.gid(), metadata.mode()),
            (expected.gid(), expected.mode())
        );
    }
}

/// `setfacl -d -m g:astro:rwX`, which is used where one group is not enough.
#[test]
fn new_files_have_the_access_control_list_that_their_directory_hands_down() {
    let place = Place::new();
    // Version 2; tag, permissions and number of each entry: owner, group, group 54321, mask, others.
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, number) in [
        (1_u16, 7_u16, u32::MAX),
        (4, 5, u32::MAX),
        (8, 7, 54_321),
        (16, 7, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(number.to_le_bytes());
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(place.dir.path(), "system.posix_acl_default", &list, flags).expect(
        "the directory for temporary files needs access control lists: set TMPDIR to one that has them",
    );
    let of = |path: &Path| {
        let mut list = [0; 256];
        let length = rustix::fs::getxattr(path, "system.posix_acl_access", &mut list)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        list[..length].to_vec()
    };
    let plain = place.dir.path().join("plain");
    fs::write(&plain, "").unwrap();
    for (number, open) in [Place::open, open_apart as fn(&Place) -> DiskStore]
        .into_iter()
        .enumerate()
    {
        let rule = key(&format!("hst_000{number}.pmap"));
        put(&open(&place), &rule, b"good").unwrap();
        assert_eq!(of(&path(&place.dir, &rule)), of(&plain));
    }
}

#[test]
fn a_file_of_the_users_is_taken_if_it_is_the_catalogued_one() {
    let place = Place::new();
    let store = place.open();
    let rule = key("hst_0001.pmap");
    for (contents, is_taken) in [(&b"evil"[..], false), (b"good", true), (b"good", true)] {
        fs::write(place.dir.path().join("mine"), contents).unwrap();
        let taken = store.take_copy(Path::new("mine"), &rule, entry(b"good"));
        assert_eq!(taken.unwrap(), is_taken);
        assert_eq!(place.dir.path().join("mine").exists(), !is_taken);
    }
    catalogued(&store.open(&rule, entry(b"good")).unwrap());
}

#[test]
fn holds_of_all_mounts_are_kept() {
    let place = Place::new();
    let (one, other) = (place.open(), place.open());
    let (first, second) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    one.change_holds(vec![crate::store::HoldChange::Hold(first.clone())])
        .unwrap();
    other
        .change_holds(vec![crate::store::HoldChange::Hold(second.clone())])
        .unwrap();
    put(&one, &second, b"good").unwrap();
    assert_eq!(
        one.evict(&second, entry(b"good")).unwrap(),
        crate::store::Eviction::Held
    );
    assert_eq!(place.open().held(), [first, second].into());
}

/// A client that finds no tag chooses another layout than a mount, and neither finds the other's files.
#[test]
fn how_references_lie_is_said_before_anybody_asks_and_whoever_says_it_first_decides() {
    let place = Place::new();
    let tag = |observatory: &str| {
        place
            .dir
            .path()
            .join("config")
            .join(observatory)
            .join("ref_cache_subdir_mode")
    };
    drop(place.open());
    for observatory in ["hst", "jwst", "roman"] {
        assert_eq!(fs::read_to_string(tag(observatory)).unwrap(), "flat");
    }
    // A client was there first; what its tag says also holds when a catalog is kept.
    let place = Place::new();
    let tag = |observatory: &str| {
        place
            .dir
            .path()
            .join("config")
            .join(observatory)
            .join("ref_cache_subdir_mode")
    };
    fs::create_dir_all(tag("jwst").parent().unwrap()).unwrap();
    fs::write(tag("jwst"), "instrument\n").unwrap();
    let store = place.open();
    assert_eq!(store.layout(), ReferenceLayout::Instrument);
    assert_eq!(fs::read_to_string(tag("jwst")).unwrap(), "instrument\n");
    assert_eq!(fs::read_to_string(tag("roman")).unwrap(), "instrument");
    fs::write(tag("roman"), "flat").unwrap();
    store.save_snapshot(Observatory::Roman, "{}", "").unwrap();
    assert_eq!(fs::read_to_string(tag("roman")).unwrap(), "flat");
    assert!(place.own("incoming").is_empty());
}

#[test]
fn two_who_find_the_same_wrong_file_do_not_set_aside_the_right_one() {
    let place = Place::new();
    let rule = key("hst_0001.pmap");
    fs::create_dir_all(place.dir.path().join("mappings/hst")).unwrap();
    fs::write(path(&place.dir, &rule), b"evil").unwrap();
    let (one, other) = (place.open(), Arc::new(place.open()));
    let (second, again) = (Arc::clone(&other), rule.clone());
    one.disk.moments.plan(Moment::Hashed, move || {
        assert!(matches!(second.verify(&again, entry(b"good")), Ok(Found::Absent)));
        put(&second, &again, b"good").unwrap();
    });
    assert!(matches!(
        one.verify(&rule, entry(b"good")).unwrap(),
        Found::Unverified
    ));
    catalogued(&one.verify(&rule, entry(b"good")).unwrap());
    assert_eq!(fs::read(path(&place.dir, &rule)).unwrap(), b"good");
    assert_eq!(place.own("quarantine").len(), 1);
}

#[test]
fn what_a_killed_mount_has_left_goes_when_it_is_old() {
    let place = Place::new();
    let own = place.dir.path().join(".crds-fs");
    drop(place.open());
    fs::create_dir_all(own.join("leases/hst")).unwrap();
    let left = [own.join("incoming/old"), own.join("leases/hst/hst_0001.pmap")];
    let young = own.join("incoming/young");
    for path in left.iter().chain([&young]) {
        fs::write(path, "").unwrap();
    }
    for path in &left {
        let long_ago = SystemTime::now() - Duration::from_secs(24 * 3600);
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    let store = place.open();
    store.load_index(Observatory::Hst).unwrap();
    // The end waits for what goes on in the background.
    drop(store);
    assert!(!left.iter().any(|path| path.exists()));
    assert!(young.exists());
}

/// The number of a network file system changes, that of the store's does not count.
#[test]
fn what_is_remembered_holds_on_another_device_and_without_a_listing() {
    let place = Place::new();
    let rule = key("hst_0001.pmap");
    {
        let store = place.open();
        put(&store, &rule, b"good").unwrap();
    }
    let stores = fs::read_dir(place.state.path()).unwrap().next().unwrap().unwrap();
    let state = fs::read_dir(stores.path()).unwrap().next().unwrap().unwrap();
    let text = fs::read_to_string(state.path().join("verified/hst")).unwrap();
    assert_eq!(text.split('\t').nth(1), Some("0"), "{text}");
    let store = place.open();
    assert!(store.holding(&rule).is_none(), "nothing is listed");
    catalogued(&store.open(&rule, entry(b"good")).unwrap());
    assert!(store.holding(&rule).is_some());
}

/// Clients of other kinds replace files, and remove them, at any moment.
#[test]
fn a_name_that_others_change_as_soon_as_it_is_given_is_left_to_them() {
    for open in [Place::open, open_apart as fn(&Place) -> DiskStore] {
        for replaced in [true, false] {
            let place = Place::new();
            let store = open(&place);
            let rule = key("hst_0001.pmap");
            let (to, new) = (path(&place.dir, &rule), place.dir.path().join("new"));
            store
                .disk
                .moments
                .plan(super::super::moments::Moment::Named, move || {
                    if replaced {
                        fs::write(&new, b"good").unwrap();
                        fs::rename(&new, &to).unwrap();
                    } else {
                        fs::remove_file(&to).unwrap();
                    }
                });
            let given = put(&store, &rule, b"good").unwrap();
            assert_eq!(bytes_of(&given), b"good");
            assert!(store.unkept().is_empty());
            match store.open(&rule, entry(b"good")).unwrap() {
                Found::Unverified => assert!(replaced),
                Found::Absent => assert!(!replaced),
                other => panic!("{other:?}"),
            }
            assert!(place.own("incoming").is_empty() && place.own("quarantine").is_empty());
        }
    }
}

#[test]
fn what_others_replace_at_that_moment_is_looked_at_again_a_few_times() {
    let stale = || std::io::Error::from(rustix::io::Errno::STALE);
    let mut looks = 0;
    let seen = super::super::state_dir::unless_stale(|| {
        looks += 1;
        if looks < 3 { Err(stale()) } else { Ok(looks) }
    });
    assert_eq!(seen.unwrap(), 3);
    let never = super::super::state_dir::unless_stale(|| Err::<(), _>(stale()));
    assert_eq!(never.unwrap_err().raw_os_error(), stale().raw_os_error());
}

#[test]
fn a_creation_whose_reply_was_lost_is_made_again() {
    let place = Place::new();
    drop(place.open());
    let own = Dir::open_ambient_dir(place.dir.path().join(".crds-fs"), ambient_authority()).unwrap();
    own.write("incoming/mine", "what was begun").unwrap();
    let file = super::super::naming::new_file(&own, Path::new("incoming/mine")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0);
}
