//! Servers that end together with the test that started them.

/// Arguments of `sh`, before a program and its arguments: the program ends when the test's process
/// closes the pipe, or exits for any reason.
pub(crate) const WATCHED: [&str; 3] = [
    "-c",
    r#"
"$@" >/dev/null 2>&1 &
read -r _
kill -KILL $! 2>/dev/null
"#,
    "watchdog",
];
