//! What is packed comes out as it went in, and foreign bytes are errors.

use super::*;

fn numbers(of: &[(u32, u64, u64)]) -> Numbers {
    of.iter().map(|(name, min, max)| (*name, Amount { min: *min, max: *max })).collect()
}

fn applied(data: &[u8], before: Option<&Numbers>) -> Option<(Numbers, Seen)> {
    let mut numbers = before.cloned().unwrap_or_default();
    let seen = apply(data, &mut numbers, before.is_some(), |_| true).unwrap();
    seen.map(|seen| (numbers, seen))
}

#[test]
fn a_look_is_the_one_before_with_what_changed() {
    let seen = Seen::of(&[What::Total, What::Limit]);
    let looks = [
        numbers(&[(0, 5, 5), (3, 10, 20), (u32::MAX, u64::MAX, u64::MAX)]),
        numbers(&[(0, 5, 5), (2, 1, 1), (3, 10, 21)]),
        numbers(&[]),
        numbers(&[(7, u64::MAX, u64::MAX)]),
        numbers(&[(7, 0, u64::MAX), (8, 0, 0)]),
    ];
    assert_eq!(applied(&look(None, &looks[0], seen), None), Some((looks[0].clone(), seen)));
    for pair in looks.windows(2) {
        let data = look(Some(&pair[0]), &pair[1], seen);
        assert_eq!(applied(&data, Some(&pair[0])), Some((pair[1].clone(), seen)));
        assert_eq!(applied(&data, None), None, "what came before is not known");
    }
    assert!(seen.has(What::Limit) && !seen.has(What::Owner));
    assert_eq!(look(Some(&looks[1]), &looks[1], seen).len(), 2, "nothing changed");
}

#[test]
fn only_wanted_names_are_kept() {
    let mut kept = Numbers::new();
    let data = look(None, &numbers(&[(1, 5, 5), (2, 6, 6), (3, 7, 9)]), Seen::default());
    apply(&data, &mut kept, false, |name| name == 2).unwrap();
    assert_eq!(kept, numbers(&[(2, 6, 6)]));
}

#[test]
fn a_roll_up_comes_out_as_it_went_in() {
    let mut rolled = Rolled { looks: 3, of: BTreeMap::new() };
    for (name, min, max) in [(1, 5, 5), (1, 5, 5), (1, 5, 5), (2, 0, 9), (2, 7, 7), (900, 1, 1)] {
        rolled.add(name, Stretch::from(Amount { min, max }));
    }
    assert_eq!(Rolled::unpack(&rolled.pack()).unwrap(), rolled);
    assert_eq!(rolled.of[&2], Stretch { looks: 2, min: 0, max: 9, twice: 23 });
    let mut twice = rolled.clone();
    twice.merge(&rolled);
    assert_eq!((twice.looks, twice.of[&1].looks, twice.of[&1].twice), (6, 6, 60));
}

#[test]
fn bytes_that_are_cut_or_foreign_are_errors_and_never_panics() {
    let now = numbers(&[(1, 500, 500), (200, 6, 6000), (70_000, 7, 9)]);
    let whole = look(None, &now, Seen::of(&What::ALL));
    for end in 0..whole.len() {
        let mut kept = Numbers::new();
        // Cut between two names it is a shorter look; anywhere else an error.
        if apply(&whole[..end], &mut kept, false, |_| true).is_ok() {
            assert!(kept.iter().all(|(name, amount)| now.get(name) == Some(amount)), "{end}: {kept:?}");
        }
        let _ = Rolled::unpack(&whole[..end]);
    }
    let endless = [0xff; 64];
    assert!(apply(&endless, &mut Numbers::new(), true, |_| true).is_err());
    assert!(Rolled::unpack(&endless).is_err());
    for byte in 0..=255 {
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] = byte;
            let _ = apply(&changed, &mut Numbers::new(), true, |_| true);
            let _ = Rolled::unpack(&changed);
        }
    }
}
