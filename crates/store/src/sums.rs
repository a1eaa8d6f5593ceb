//! Sums of amounts, as SQL that never fails. PostgreSQL sums in more than 64 bits and fails when
//! the sum is read as 64; SQLite fails within its own `sum`.

use crate::Engine;
use domain::Quota;

const MOST: i64 = Quota::LARGEST_SUM.0;

/// The sum of `amount` over a group: [`Quota::LARGEST_SUM`] where it is more, in either direction;
/// zero of no rows, as `least` and `greatest` of PostgreSQL pass over a NULL.
#[must_use]
pub fn sum_of(engine: Engine, amount: &str) -> String {
    let sum = match engine {
        Engine::Postgres => format!("sum({amount})"),
        // In two halves, neither of which can overflow. Put together they may: to a float, which
        // is compared by its value.
        Engine::Sqlite => {
            format!("sum(({amount}) >> 32) * 4294967296 + sum(({amount}) & 4294967295)")
        }
    };
    format!("CAST({} AS BIGINT)", within_most(engine, &format!("coalesce({sum}, 0)")))
}

/// `a + b` of two such sums, as such a sum.
#[must_use]
pub fn added(engine: Engine, a: &str, b: &str) -> String {
    within_most(engine, &format!("{a} + {b}"))
}

fn within_most(engine: Engine, value: &str) -> String {
    let (least, greatest) = match engine {
        Engine::Postgres => ("least", "greatest"),
        Engine::Sqlite => ("min", "max"),
    };
    format!("{greatest}({least}({value}, {MOST}), -{MOST})")
}
