//! Servers of a test that end with it.

/// Arguments of `sh`, before a program and its arguments: the program ends when the test's process
/// closes the pipe, or is gone, whatever ended it.
pub(crate) const WATCHED: [&str; 3] = [
    "-c",
    r#"
"$@" >/dev/null 2>&1 &
read -r _
kill -KILL $! 2>/dev/null
"#,
    "watchdog",
];
