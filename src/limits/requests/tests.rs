use super::*;
use crate::config::template::Template;

/// A table of this rate in requests a second and so many bytes.
fn table(rate: u64, bytes: u64) -> RequestTable {
    let key = Template::parse("$remote_addr").expect("nginx's own");
    RequestTable::new(&RequestZone { name: "one".into(), key, rate: rate * 1000, bytes })
}

fn limit(burst: u64, delay: u64) -> RequestLimit {
    RequestLimit { zone: 0, burst: burst * 1000, delay: delay * 1000, retry_after: false }
}

/// What a request of key `a` is told at a moment.
fn at(table: &RequestTable, limit: &RequestLimit, millis: u64) -> String {
    let asked = [Asked { limit, table, key: b"a" }];
    match ask(&asked, Tick::from_millis(millis)) {
        Verdict::Passed => "passed".into(),
        Verdict::Delayed { wait, .. } => format!("delayed {}", wait.as_millis()),
        Verdict::Rejected { excess, .. } => format!("rejected {excess}"),
    }
}

/// What `ngx_http_limit_req_lookup` and `…_account` compute.
#[test]
fn sequences_are_those_of_nginx() {
    let (plain, burst) = (limit(0, 0), limit(2, 0));
    let (nodelay, delay) = (limit(2, u64::MAX / 1000), limit(4, 2));
    for (name, limit, rate, moments) in [
        (
            "no burst",
            &plain,
            2,
            &[(0, "passed"), (1, "rejected 998"), (499, "rejected 2"), (500, "passed")][..],
        ),
        (
            "burst",
            &burst,
            1,
            &[(0, "passed"), (0, "delayed 1000"), (0, "delayed 2000"), (0, "rejected 3000")],
        ),
        (
            "burst, later",
            &burst,
            10,
            &[(0, "passed"), (10, "delayed 90"), (20, "delayed 180"), (1000, "passed")],
        ),
        (
            "nodelay",
            &nodelay,
            1,
            &[(0, "passed"), (0, "passed"), (0, "passed"), (0, "rejected 3000"), (1000, "passed")],
        ),
        (
            "delay",
            &delay,
            1,
            &[
                (0, "passed"),
                (0, "passed"),
                (0, "passed"),
                (0, "delayed 1000"),
                (0, "delayed 2000"),
                (0, "rejected 5000"),
            ],
        ),
    ] {
        let table = table(rate, 1 << 20);
        for (millis, expected) in moments {
            assert_eq!(at(&table, limit, *millis), *expected, "{name} at {millis} ms");
        }
    }
}

#[test]
fn a_clock_that_steps_back_lets_nobody_through() {
    let table = table(1, 1 << 20);
    assert_eq!(at(&table, &limit(0, 0), 5000), "passed");
    assert_eq!(at(&table, &limit(0, 0), 4000), "rejected 1000");
}

#[test]
fn of_several_limits_one_that_refuses_leaves_the_others_uncounted() {
    let (wide, narrow) = (table(1, 1 << 20), table(1, 1 << 20));
    let (many, none) = (limit(5, 5), limit(0, 0));
    let asked = [
        Asked { limit: &many, table: &wide, key: b"a" },
        Asked { limit: &none, table: &narrow, key: b"a" },
    ];
    let now = Tick::from_millis(7);
    assert_eq!(ask(&asked, now), Verdict::Passed);
    for _ in 0..9 {
        assert!(matches!(ask(&asked, now), Verdict::Rejected { by: 1, .. }));
    }
    // Only the first was counted.
    let alone = [Asked { limit: &many, table: &wide, key: b"a" }];
    for _ in 0..5 {
        assert_eq!(ask(&alone, now), Verdict::Passed);
    }
    assert!(matches!(ask(&alone, now), Verdict::Rejected { by: 0, .. }));
}

#[test]
fn the_longest_delay_of_several_limits_counts() {
    let (slow, fast) = (table(1, 1 << 20), table(10, 1 << 20));
    let (first, second) = (limit(5, 0), limit(5, 0));
    let asked = [
        Asked { limit: &first, table: &slow, key: b"a" },
        Asked { limit: &second, table: &fast, key: b"a" },
    ];
    assert_eq!(ask(&asked, Tick::from_millis(0)), Verdict::Passed);
    let expected = Verdict::Delayed { wait: Duration::from_secs(1), by: 0, excess: 1000 };
    assert_eq!(ask(&asked, Tick::from_millis(0)), expected);
}

#[test]
fn a_table_never_grows_over_its_size_and_forgets_the_oldest() {
    let table = table(1, 32 << 10);
    let rule = limit(0, 0);
    let ask = |key: u32, millis| {
        let key = key.to_be_bytes();
        super::ask(&[Asked { limit: &rule, table: &table, key: &key }], Tick::from_millis(millis))
    };
    for key in 0..10_000 {
        assert_eq!(ask(key, 0), Verdict::Passed, "there is always room for another");
        assert!(table.used() <= 32 << 10);
    }
    assert_eq!(table.used(), 32 << 10, "128 bytes a state, as in nginx");
    assert!(matches!(ask(9_999, 0), Verdict::Rejected { .. }), "the newest are known");
    assert_eq!(ask(0, 0), Verdict::Passed, "the oldest are not");
}

#[test]
fn who_was_not_seen_for_a_minute_makes_room_two_at_a_time() {
    let rule = limit(0, 0);
    // A small one has one part; of a larger one each part is swept apart.
    let one = table(1, 64 << 10);
    for key in [b"a", b"b", b"c"] {
        let _ = super::ask(&[Asked { limit: &rule, table: &one, key }], Tick::from_millis(0));
    }
    assert_eq!(one.used(), 3 * 128);
    let _ =
        super::ask(&[Asked { limit: &rule, table: &one, key: b"d" }], Tick::from_millis(59_999));
    assert_eq!(one.used(), 4 * 128, "not yet");
    let _ =
        super::ask(&[Asked { limit: &rule, table: &one, key: b"e" }], Tick::from_millis(60_000));
    assert_eq!(one.used(), 3 * 128, "two went, one came");
}
