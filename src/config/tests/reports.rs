//! What is shown of a bad file, and what never is.

use proptest::prelude::*;

use super::*;

#[test]
fn the_hint_of_a_bare_number_is_a_quantity_that_would_be_taken() {
    for (line, hint) in [
        ("[memory]\nbytes_max = 256", "`\"256KiB\"`"),
        ("[memory]\nbytes_max = 268435456", "`\"268435456B\"`"),
        ("[origin]\nconnect_timeout = 5", "`\"5s\"`"),
        ("[origin]\nconnect_timeout = 250000", "`\"250000ms\"`"),
    ] {
        let text = format!("upstream = \"http://a\"\n{line}\n");
        let problems = read(&text).expect_err("a unit is missing").to_string();
        assert!(problems.contains(hint), "{problems}");
        let repaired = text.replace(line.rsplit(' ').next().unwrap(), &hint.replace('`', ""));
        assert!(read(&repaired).is_ok(), "{repaired}");
    }
}

#[test]
fn every_problem_is_reported_at_once_where_it_stands() {
    let text = r#"listn = ":8080"
threads = "many"

[origin]
connect_timeout = "5"

[redis]
url = "redis://:hunter2@h:x"

[[routes]]
path = "/a/{id}"
[[routes]]
path = "/a/{name}"
ttl = "${TTL}"
"#;
    let problems = read(text).expect_err("much is wrong");
    let expected = r#"error: `upstream` is missing
--> proxy.toml
 = help: add `upstream = "http://127.0.0.1:3000"`

error: unknown key `listn`
 --> proxy.toml:1:1
  |
1 | listn = ":8080"
  | ^^^^^
  |
  = help: did you mean `listen`?

error: `threads`: expected a whole number from 0 to 1024, found a string
 --> proxy.toml:2:11
  |
2 | threads = "many"
  |           ^^^^^^

error: `origin.connect_timeout`: expected a duration from `"1ms"` to `"1d"`
 --> proxy.toml:5:19
  |
5 | connect_timeout = "5"
  |                   ^^^
  |
  = help: add a unit: ms, s, m, h, d

error: `redis.namespace` is missing
 --> proxy.toml:7:1
  |
7 | [redis]
  | ^^^^^^^
  |
  = help: add `namespace = "shop"`

error: `redis.url`: this is no Redis URL
 --> proxy.toml:8:7
  |
8 | url = "********************"
  |       ^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: redis://user:password@host:port/database, special characters percent-encoded; redis+unix:///path?db=0

error: `/a/{name}` matches the same paths as `/a/{id}` above
  --> proxy.toml:13:8
   |
13 | path = "/a/{name}"
   |        ^^^^^^^^^^^
   |
   = help: join the two routes

error: `routes.ttl`: the environment has no variable `TTL`
  --> proxy.toml:14:8
   |
14 | ttl = "${TTL}"
   |        ^^^^^^
   |
   = help: set `TTL` before starting, or write the value

proxy.toml: 8 problems
"#;
    assert_eq!(problems.render(false), expected);
}

#[test]
fn a_file_that_is_not_toml_is_reported_with_what_is_certain() {
    let text = "upstream = \nthreads = \"x\"\nlisten = \"a\n[admin]\nlisten = 3\n";
    let problems = read(text).expect_err("much is wrong");
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| problem.place.as_ref().expect("it has one").line)
        .collect();
    assert_eq!(lines, [1, 2, 3, 5]);

    let text = "upstream = \"http://a\"\n[memory\nlisten = 3\n";
    let problems = read(text).expect_err("the header is broken");
    assert_eq!(problems.count(), 1, "what follows it is not judged");
}

#[test]
fn no_secret_is_shown_wherever_it_stands() {
    for text in [
        "[admin]\ntoken = \"hunter2 \"",
        "[admin]\ntoken = [\"hunter2\"]",
        "[admin]\ntokne = \"hunter2\"",
        "[admin]\nbearer_value = \"hunter2\"",
        "[admin]\nwhatever = { x = [\"hunter2\"] }",
        "[admin]\n\"tok\\u0065n\" = \"hunter2 \"",
        "[admin]\ntoken = \"hunter2",
        "[admin]\ntoken = \"${PANNIER_ADMIN_TOKEN} \"",
        "upstream = \"http://u:hunter2@a\"",
        "[redis]\nurl = \"redis://:hunter2@h:x\"",
        "[redis]\nurl = \"redis://:hunter2\"",
        "[redis]\nurl = \"redis:hunter2@h\"",
        "[redis]\nurl = \"hunter2\"",
        "[redis]\nurl = \"${REDIS_URL}\"",
        "[redis]\nurl = [\"redis://a\", \"redis://:hunter2@b/7\"]",
        "[redis]\nurl = \"redis://:hunter2@h:x",
        "[redis]\nurl = \"redis+unix:///s?pass=hunter2&db=x\"",
    ] {
        let problems = read(text).expect_err("something is wrong");
        for shown in [
            problems.render(false),
            problems.render(true),
            format!("{problems:?}"),
            format!("{:?}", problems.iter().collect::<Vec<_>>()),
        ] {
            assert!(!shown.contains("hunter2"), "{text}\n{shown}");
        }
    }
    let config = good(
        "admin.token = \"hunter2\"\nredis = { url = \"redis://:hunter2@h\", namespace = \"a\" }",
    );
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_harmless_redis_url_stays_readable() {
    let problems = read("[redis]\nurl = \"redis://10.0.0.1:99999\"").expect_err("no such port");
    assert!(problems.render(false).contains("redis://10.0.0.1:99999"));
}

#[test]
fn many_problems_are_shown_up_to_a_bound() {
    let text: String = (0..SHOWN_MAX + 5)
        .map(|at| format!("k{at:09} = 1\n"))
        .collect();
    let problems = read(&format!("{UPSTREAM}{text}")).expect_err("no such keys");
    assert_eq!(problems.count(), SHOWN_MAX + 5);
    assert!(problems.render(false).contains("and 5 more"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text: String) {
        if let Err(problems) = read(&text) {
            prop_assert!(!problems.render(true).is_empty());
        }
    }

    /// Pieces of real files in any order get further than arbitrary text.
    #[test]
    fn no_heap_of_pieces_makes_the_reader_panic(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..24),
    ) {
        if let Err(problems) = read(&pieces.concat()) {
            prop_assert!(!problems.render(false).is_empty());
        }
    }
}

const PIECES: &[&str] = &[
    "\n",
    "\n",
    " = ",
    " = ",
    "\"",
    "'''",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    ",",
    "#",
    "listen",
    "upstream",
    "[admin]\n",
    "token",
    "[redis]\n",
    "url",
    "[[routes]]\n",
    "path",
    "\"/a/{id}\"",
    "\"${PORT}\"",
    "${",
    "[routes.key]\n",
    "query",
    "{ only = [\"a*\"] }",
    "[[invalidations]]\n",
    "purge",
    "3",
    "-0x1",
    "1e9",
    "é",
    "\u{1b}",
    "\r\n",
    "\u{feff}",
    "\"redis://:pass@h\"",
    "\\u0000",
    "1979-05-27",
    "true",
    ".",
];
