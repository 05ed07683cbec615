//! Leases on the disk: exclusive, renewed while bytes come, given back, outlived by nobody.

use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::super::moments::Moment;
use super::*;
use crate::store::LeaseSeeker;
use crate::store::leases::Sought;

/// Stores that share a directory, each with a term for leases.
struct Mounts {
    dir: TempDir,
    state: TempDir,
    options: StoreOptions,
    stores: Vec<DiskStore>,
}

impl Mounts {
    fn new(count: usize, lease: Duration) -> Self {
        let (dir, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let options = StoreOptions {
            sharing: Sharing::Shared,
            state: Some(state.path().to_owned()),
            lease,
            ..options()
        };
        let stores = (0..count).map(|_| DiskStore::open(dir.path(), options.clone()).unwrap());
        let stores = stores.collect();
        Self {
            dir,
            state,
            options,
            stores,
        }
    }

    fn leases(&self) -> Vec<PathBuf> {
        let leases = fs::read_dir(self.dir.path().join(".crds-fs/leases/hst"));
        let leases = leases.into_iter().flatten();
        leases.map(|lease| lease.unwrap().path()).collect()
    }
}

const LONG: Duration = Duration::from_secs(3600);

fn rule() -> FileKey {
    key("hst_0001.pmap")
}

fn seek(store: &DiskStore, seeker: &mut LeaseSeeker) -> Sought {
    seek_of(store, &rule(), seeker)
}

fn seek_of(store: &DiskStore, key: &FileKey, seeker: &mut LeaseSeeker) -> Sought {
    store.seek(key, entry(b"good"), seeker, true).unwrap()
}

/// Seeks until nobody else is waited for.
fn wait(store: &DiskStore, key: &FileKey, mut seeker: LeaseSeeker) -> Sought {
    loop {
        match seek_of(store, key, &mut seeker) {
            Sought::Wait(pause) => std::thread::sleep(pause),
            sought => return sought,
        }
    }
}

fn shared(store: &DiskStore) -> &Shared {
    store.disk.shared().unwrap()
}

#[test]
fn one_fetches_and_the_others_find_what_he_brings() {
    let mounts = Mounts::new(3, LONG);
    let [one, other, third] = mounts.stores.as_slice() else {
        panic!()
    };
    let mut seekers: [LeaseSeeker; 3] = Default::default();
    assert_eq!(seek(one, &mut seekers[0]), Sought::Fetch);
    assert!(matches!(seek(other, &mut seekers[1]), Sought::Wait(_)));
    put(one, &rule(), b"good").unwrap();
    one.end_seeking(&rule());
    assert_eq!(seek(other, &mut seekers[1]), Sought::There);
    // A mount that does not see the name yet sees the lease, which outlives the publication and tells of it.
    let leases = mounts.leases();
    assert_eq!(leases.len(), 1);
    let modified = fs::metadata(&leases[0]).unwrap().modified().unwrap();
    assert_eq!(modified, SystemTime::UNIX_EPOCH);
    fs::rename(path(&mounts.dir, &rule()), mounts.dir.path().join("late")).unwrap();
    assert!(matches!(seek(third, &mut seekers[2]), Sought::Wait(_)));
    fs::rename(mounts.dir.path().join("late"), path(&mounts.dir, &rule())).unwrap();
    assert_eq!(seek(third, &mut seekers[2]), Sought::There);
    catalogued(&other.verify(&rule(), entry(b"good")).unwrap());
    let counts = shared(other).leases().counts();
    assert_eq!(
        (counts.waited, counts.found, counts.taken_over, counts.held),
        (1, 1, 0, 0)
    );
    drop(mounts.stores);
    assert!(
        fs::read_dir(mounts.dir.path().join(".crds-fs/leases/hst"))
            .unwrap()
            .next()
            .is_none()
    );
    drop(mounts.state);
}

#[test]
fn a_lease_is_given_back_by_a_transfer_that_fails_and_taken_again_by_its_own_mount() {
    let mounts = Mounts::new(2, LONG);
    let [one, other] = mounts.stores.as_slice() else {
        panic!()
    };
    let mut waiting = LeaseSeeker::default();
    assert_eq!(seek(one, &mut LeaseSeeker::default()), Sought::Fetch);
    assert!(matches!(seek(other, &mut waiting), Sought::Wait(_)));
    one.end_seeking(&rule());
    assert_eq!(seek(other, &mut waiting), Sought::Fetch);
    put(other, &rule(), b"good").unwrap();
    other.end_seeking(&rule());
    // What was published is gone: whoever has brought it need not wait for his own lease.
    fs::remove_file(path(&mounts.dir, &rule())).unwrap();
    assert_eq!(seek(other, &mut LeaseSeeker::default()), Sought::Fetch);
    assert_eq!(mounts.leases().len(), 1);
}

#[test]
fn who_ends_leaves_no_lease_on_what_he_has_published() {
    let mounts = Mounts::new(1, LONG);
    let store = &mounts.stores[0];
    assert_eq!(seek(store, &mut LeaseSeeker::default()), Sought::Fetch);
    publish(store, &rule(), b"good").unwrap();
    store.end_seeking(&rule());
    assert_eq!(mounts.leases().len(), 1);
    store.close().unwrap();
    assert!(mounts.leases().is_empty());
}

/// Another file of the batch may meet one whose name is seen late, which takes seconds.
#[test]
fn a_lease_tells_of_the_publication_before_others_of_the_batch_have_their_names() {
    let mounts = Mounts::new(1, LONG);
    let store = &mounts.stores[0];
    let keys = ["hst_0001.pmap", "hst_0002.pmap", "hst_0003.pmap"].map(key);
    for key in &keys {
        assert_eq!(seek_of(store, key, &mut LeaseSeeker::default()), Sought::Fetch);
    }
    // The first file is published by itself, while the two others come into the next batch.
    let (go_on, waits) = std::sync::mpsc::channel();
    store
        .disk
        .moments
        .plan(Moment::DataSynced, move || waits.recv().unwrap());
    let directory = mounts.dir.path().join(".crds-fs/leases/hst");
    let is_told = move |name: &str| {
        let modified = fs::metadata(directory.join(name)).unwrap().modified().unwrap();
        modified == SystemTime::UNIX_EPOCH
    };
    store.disk.moments.plan_nth(Moment::Named, 3, move || {
        let end = Instant::now() + Duration::from_secs(60);
        while !["hst_0002.pmap", "hst_0003.pmap"]
            .iter()
            .any(|name| is_told(name))
        {
            assert!(Instant::now() < end, "the file that has its name is not told of");
            std::thread::yield_now();
        }
    });
    for key in &keys {
        publish(store, key, b"good").unwrap();
    }
    go_on.send(()).unwrap();
    store.disk.queue.flush().unwrap();
}

#[test]
fn a_lease_without_a_sign_of_life_is_taken_over() {
    let mounts = Mounts::new(2, Duration::from_millis(200));
    let [one, other] = mounts.stores.as_slice() else {
        panic!()
    };
    assert_eq!(seek(one, &mut LeaseSeeker::default()), Sought::Fetch);
    assert_eq!(wait(other, &rule(), LeaseSeeker::default()), Sought::Fetch);
    assert_eq!(shared(other).leases().counts().taken_over, 1);
    // The lease of the other is not given back by the first.
    one.end_seeking(&rule());
    assert_eq!(mounts.leases().len(), 1);
    assert!(
        fs::read_dir(mounts.dir.path().join(".crds-fs/incoming"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn who_has_waited_for_one_lease_of_a_dead_mount_waits_for_none_of_the_others() {
    let mounts = Mounts::new(2, Duration::from_millis(400));
    let [one, other] = mounts.stores.as_slice() else {
        panic!()
    };
    let keys = ["hst_0002.pmap", "hst_0003.pmap", "hst_0004.pmap"].map(key);
    for key in keys.iter().chain([&rule()]) {
        assert_eq!(seek_of(one, key, &mut LeaseSeeker::default()), Sought::Fetch);
    }
    // What the thread does when somebody waits.
    super::super::leases::survey(shared(other), Observatory::Hst);
    assert_eq!(wait(other, &rule(), LeaseSeeker::default()), Sought::Fetch);
    for key in &keys {
        assert_eq!(seek_of(other, key, &mut LeaseSeeker::default()), Sought::Fetch);
    }
    let counts = shared(other).leases().counts();
    assert_eq!((counts.waited, counts.taken_over), (1, 4));
}

#[test]
fn the_leases_of_a_mount_that_was_killed_hold_its_successor_back_no_more() {
    let mut mounts = Mounts::new(2, LONG);
    let (killed, other) = (mounts.stores.remove(0), mounts.stores.remove(0));
    assert_eq!(seek(&killed, &mut LeaseSeeker::default()), Sought::Fetch);
    let session = shared(&killed).state_path().join("session");
    let token = fs::read(&session).unwrap();
    // A process that is killed gives back its locks and nothing else.
    let lease = mounts.leases().remove(0);
    let kept = lease.with_extension("kept");
    fs::hard_link(&lease, &kept).unwrap();
    drop(killed);
    assert!(!session.exists());
    fs::write(&session, token).unwrap();
    fs::rename(&kept, &lease).unwrap();

    let successor = DiskStore::open(mounts.dir.path(), mounts.options.clone()).unwrap();
    assert!(matches!(
        seek(&other, &mut LeaseSeeker::default()),
        Sought::Wait(_)
    ));
    assert_eq!(seek(&successor, &mut LeaseSeeker::default()), Sought::Fetch);
    assert_eq!(shared(&successor).leases().counts().taken_over, 1);
}

#[test]
fn who_waits_lets_all_leases_be_looked_at() {
    let mounts = Mounts::new(2, LONG);
    let [one, other] = mounts.stores.as_slice() else {
        panic!()
    };
    let second = key("hst_0002.pmap");
    assert_eq!(seek(one, &mut LeaseSeeker::default()), Sought::Fetch);
    assert_eq!(seek_of(one, &second, &mut LeaseSeeker::default()), Sought::Fetch);
    assert!(matches!(
        seek(other, &mut LeaseSeeker::default()),
        Sought::Wait(_)
    ));
    let end = Instant::now() + Duration::from_secs(60);
    while !shared(other).leases().state.lock().others.contains_key(&second) {
        assert!(
            Instant::now() < end,
            "the thread does not look at the other leases"
        );
        std::thread::yield_now();
    }
}

#[test]
fn leases_are_renewed_while_bytes_come() {
    let mounts = Mounts::new(1, LONG);
    let store = &mounts.stores[0];
    assert_eq!(seek(store, &mut LeaseSeeker::default()), Sought::Fetch);
    let lease = mounts.leases().remove(0);
    let old = SystemTime::now() - LONG;
    let is_renewed = || {
        File::open(&lease).unwrap().set_modified(old).unwrap();
        store.disk.renew_leases(shared(store));
        fs::metadata(&lease).unwrap().modified().unwrap() != old
    };
    assert!(!is_renewed(), "nothing has come");
    let partial = store.begin(&rule()).unwrap();
    assert!(is_renewed());
    assert!(!is_renewed(), "nothing more has come");
    partial.file.write_all_at(b"go", 0).unwrap();
    assert!(is_renewed());
    assert!(!is_renewed());
    store.note_complete(&rule());
    assert!(is_renewed() && is_renewed(), "it is hashed and published");
    let text = fs::read_to_string(&lease).unwrap();
    assert!(text.contains(&std::process::id().to_string()), "{text}");
}

#[test]
fn where_there_can_be_no_leases_everybody_fetches() {
    let mounts = Mounts::new(2, LONG);
    fs::write(mounts.dir.path().join(".crds-fs/leases"), "").unwrap();
    for store in &mounts.stores {
        store.list(Observatory::Hst).unwrap();
    }
    for store in &mounts.stores {
        assert_eq!(seek(store, &mut LeaseSeeker::default()), Sought::Fetch);
        put(store, &rule(), b"good").unwrap();
        store.end_seeking(&rule());
    }
}

/// Others may put anything into a directory that all write.
#[test]
fn what_is_no_lease_is_waited_for_as_one_and_no_longer() {
    let mounts = Mounts::new(1, Duration::from_millis(200));
    let store = &mounts.stores[0];
    let lease = mounts.dir.path().join(".crds-fs/leases/hst/hst_0001.pmap");
    let others: [&dyn Fn(); 3] = [
        &|| mknodat(CWD, &lease, FileType::Fifo, Mode::RUSR, 0).unwrap(),
        &|| std::os::unix::fs::symlink("/dev/zero", &lease).unwrap(),
        &|| fs::create_dir_all(lease.join("below")).unwrap(),
    ];
    fs::create_dir_all(lease.parent().unwrap()).unwrap();
    for put_other in others {
        put_other();
        assert_eq!(wait(store, &rule(), LeaseSeeker::default()), Sought::Fetch);
        store.end_seeking(&rule());
        assert!(mounts.leases().is_empty());
    }
}
