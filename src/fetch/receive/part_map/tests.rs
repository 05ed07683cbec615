//! Tests of the parts of a file.

use proptest::prelude::*;

use super::*;

fn map(size: u64, part: u64, align: u64) -> PartMap {
    let settings = FetchSettings {
        large: 1,
        part,
        align,
        streams: 8,
        ..FetchSettings::default()
    };
    let mut map = PartMap::new(None, Some(size), None, &settings, Instant::now());
    map.note_version(&Url::new("http://127.0.0.1/x"), Some("1"));
    map
}

fn is_sound(map: &PartMap) -> bool {
    map.record().is_some_and(|record| record.is_sound())
}

/// Reads so many bytes over a stream, in a second.
fn read(map: &mut PartMap, piece: Piece, count: u64, now: &mut Instant) {
    *now += Duration::from_secs(1);
    let read = map.streams.get(&piece.start).unwrap().read;
    map.note_read(piece, read, count, *now);
}

#[test]
fn what_is_asked_for_is_not_taken_back_from_a_stream_that_brings_it() {
    let mut map = map(2_000, 1_000, 1);
    let mut now = Instant::now();
    let sizes = |map: &PartMap, streams: &[Piece]| {
        let sizes = streams.iter().map(|piece| map.end_of(*piece) - piece.start);
        sizes.collect::<Vec<_>>()
    };
    // Eight streams may come, and each shall ask twice.
    let mut streams: Vec<Piece> = (0..8).map(|_| map.take_piece(10, now).unwrap()).collect();
    assert_eq!(sizes(&map, &streams), [125, 117, 109, 103, 96, 90, 85, 79]);
    for piece in streams.clone() {
        read(&mut map, piece, 20, &mut now);
    }
    streams.extend(std::iter::from_fn(|| map.take_piece(10, now)));
    assert_eq!(sizes(&map, &streams).iter().sum::<u64>(), 2_000);
    assert!(sizes(&map, &streams).iter().all(|size| *size >= 10));
    assert!(is_sound(&map));
}

#[test]
fn whoever_has_nothing_to_do_shares_the_part_of_a_slow_stream() {
    let mut map = map(1_000, 500, 1);
    map.most = 1;
    let mut now = Instant::now();
    let [first, second] = [(); 2].map(|()| map.take_piece(400, now).unwrap());
    assert_eq!((first.start, second.start), (0, 500));
    for _ in 0..10 {
        read(&mut map, first, 30, &mut now);
    }
    assert_eq!(map.flowing(), 1);
    let third = map.take_piece(50, now).unwrap();
    assert_eq!(
        (third.start, map.end_of(second)),
        (750, 750),
        "nothing has come of it"
    );
    assert!(is_sound(&map));
    // The new one has not had its time, and the first one is quick.
    let fourth = map.take_piece(50, now).unwrap();
    assert_eq!(fourth.start, 625);
    assert_eq!(map.take_piece(50, now).map(|piece| piece.start), Some(563));
    assert!(map.take_piece(50, now).is_none());
    assert_eq!(map.end_of(first), 500);
}

#[test]
fn another_request_is_made_before_a_stream_has_ended() {
    let mut map = map(10_000, 1_000, 1);
    let mut now = Instant::now();
    map.note_latency(Duration::from_secs(2));
    map.note_latency(Duration::from_secs(3));
    let piece = map.take_piece(1_000, now).unwrap();
    let wanted = map.wanted(now);
    for _ in 0..7 {
        read(&mut map, piece, 100, &mut now);
    }
    assert_eq!(map.wanted(now), wanted);
    read(&mut map, piece, 100, &mut now);
    assert_eq!(map.wanted(now), wanted + 1, "the rest comes in two seconds");
    map.put_back(piece, now);
    assert_eq!(map.wanted(now), wanted);
    map.stream_count.refused(now, Duration::ZERO, 1);
    let piece = map.take_piece(1_000, now).unwrap();
    read(&mut map, piece, 1_000, &mut now);
    assert_eq!(map.wanted(now), 1, "the server wants no more");
}

#[test]
fn parts_begin_at_multiples() {
    let starts = |map: &PartMap| map.parts.iter().map(|part| part.start).collect::<Vec<_>>();
    let mut map = map(2_300, 1_000, 256);
    assert_eq!(starts(&map), [0, 1_024, 2_048]);
    let now = Instant::now();
    let streams: Vec<Piece> = std::iter::from_fn(|| map.take_piece(100, now)).collect();
    assert_eq!(
        starts(&map),
        [0, 256, 512, 768, 1_024, 1_280, 1_536, 1_792, 2_048]
    );
    assert_eq!(streams.len(), 9);
    assert!(is_sound(&map));
    // The rest of a part is cut at the multiple nearest to its middle, if each half is long enough.
    assert_eq!(middle(0, 1_024, 256), 512);
    assert_eq!(middle(300, 1_024, 256), 768);
    assert_eq!(middle(10, 1_000, 256), 512);
    assert_eq!(middle(700, 1_000, 1), 850);
    assert_eq!(middle(513, 760, 256), 512, "below what has been read");
}

proptest! {
    /// Each byte is read by one stream, and each slice of a cache in between by one as well, in any order of their steps.
    #[test]
    fn every_byte_comes_once(size in 2..5_000_u64, part in 1..3_000_u64, align in prop::sample::select(vec![1_u64, 7, 64, 256]), steps in prop::collection::vec((0..4_u8, any::<prop::sample::Index>(), 1..500_u64), 0..300)) {
        let mut map = map(size, part, align);
        let mut count = vec![0_u8; usize::try_from(size).unwrap()];
        let mut streams: Vec<(Piece, u64)> = Vec::new();
        for (what, index, bytes) in steps {
            if what == 0 || streams.is_empty() {
                if let Some(piece) = map.take_piece(10, Instant::now()) {
                    streams.push((piece, piece.from));
                }
                continue;
            }
            let at = index.index(streams.len());
            let (piece, read) = streams[at];
            if what == 1 {
                map.put_back(piece, Instant::now());
                streams.swap_remove(at);
                continue;
            }
            let end = map.note_read(piece, read, bytes, Instant::now());
            let until = (read + bytes).min(end);
            for byte in read..until {
                count[usize::try_from(byte).unwrap()] += 1;
            }
            streams[at].1 = until;
            map.note_written(piece, until);
            if until == end {
                map.put_back(piece, Instant::now());
                streams.swap_remove(at);
            }
            prop_assert!(is_sound(&map));
            prop_assert!(map.parts.iter().all(|part| part.start % align == 0));
        }
        prop_assert!(count.iter().all(|count| *count <= 1));
        prop_assert_eq!(map.arrived(), count.iter().map(|count| u64::from(*count)).sum::<u64>());
    }
}
