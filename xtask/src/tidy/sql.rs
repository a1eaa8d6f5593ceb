//! Finds SQL that writes money, in the string literals of Rust code.

/// Columns of each table that hold money, or the state of money.
const MONEY: &[(&str, &[&str])] = &[
    ("users", &["quota", "used_quota", "revision"]),
    ("tokens", &["remain_quota", "used_quota"]),
    ("channels", &["used_quota"]),
    ("tasks", &["quota", "precharge_quota", "used_quota"]),
    ("redemptions", &["redeemed_by", "redeemed_at"]),
    // A line that moves money; any module may write lines that only inform.
    ("logs", &["delta", "used_delta", "hold_id", "held", "reference"]),
];

/// Tables of which every write is a write of money.
const MONEY_TABLES: &[&str] = &["holds", "ledger_carry", "movements", "price_snapshots"];

/// What of money this SQL writes, if it does.
pub fn money_write(sql: &str) -> Option<String> {
    let tokens = tokens(sql);
    (0..tokens.len()).find_map(|at| {
        let rest = &tokens[at..];
        match rest.first()?.as_str() {
            "insert" if rest.get(1)? == "into" => insert(&rest[2..]),
            "copy" => insert(&rest[1..]),
            "update" => update(&rest[1..]),
            "delete" if rest.get(1)? == "from" => delete(&rest[2..]),
            "truncate" => delete(&rest[1..]),
            _ => None,
        }
    })
}

fn insert(rest: &[String]) -> Option<String> {
    let table = rest.first()?.as_str();
    if MONEY_TABLES.contains(&table) {
        return Some(format!("inserts into {table}"));
    }
    let money = money_columns(table)?;
    // The column list; a starting balance is a deposit, which is the ledger's.
    let list = rest.get(1..)?.iter().skip_while(|token| *token != "(");
    let mut columns = list.take_while(|token| *token != ")");
    // A key is created with its limit, of which nothing has been spent.
    if table == "tokens" {
        return None;
    }
    let column = columns.find(|token| money.contains(&token.as_str()))?;
    Some(format!("inserts {table}.{column}"))
}

fn update(rest: &[String]) -> Option<String> {
    let rest = if rest.first()? == "only" { rest.get(1..)? } else { rest };
    let table = rest.first()?.as_str();
    // Behind `UPDATE table [[AS] alias]`.
    let set = rest.iter().take(4).position(|token| token == "set")?;
    if MONEY_TABLES.contains(&table) {
        return Some(format!("updates {table}"));
    }
    let money = money_columns(table)?;
    let assignments = &rest[set..];
    let end = assignments.iter().position(|token| token == "where" || token == "returning");
    let assignments = &assignments[..end.unwrap_or(assignments.len())];
    let written = assignments.iter().enumerate().find(|(at, token)| {
        let then = assignments.get(at + 1).map(String::as_str);
        // `SET quota = …`, and `SET (a, quota) = …`.
        let listed = matches!(then, Some("," | ")"))
            && assignments[..*at].iter().rev().find(|it| *it == "(" || *it == "=")
                == Some(&"(".to_owned());
        money.contains(&token.as_str()) && (then == Some("=") || listed)
    });
    written.map(|(_, column)| format!("updates {table}.{column}"))
}

fn delete(rest: &[String]) -> Option<String> {
    let table = rest.iter().find(|token| *token != "table" && *token != "only")?.as_str();
    let money = MONEY_TABLES.contains(&table) || table == "logs";
    money.then(|| format!("deletes from {table}"))
}

fn money_columns(table: &str) -> Option<&'static [&'static str]> {
    MONEY.iter().find(|(name, _)| *name == table).map(|(_, columns)| *columns)
}

/// Words in lower case, without quotes and schema, and punctuation one by one.
fn tokens(sql: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    // A backslash is the continuation of a Rust literal, or an escape in it.
    let sql = sql.replace("\\n", " ").replace('\\', " ");
    for character in sql.chars().chain([' ']) {
        match character {
            '_' | '"' | '.' => word.push(character),
            _ if character.is_alphanumeric() => word.extend(character.to_lowercase()),
            _ => {
                if !word.is_empty() {
                    let bare = word.replace('"', "");
                    found.push(bare.rsplit('.').next().unwrap_or_default().to_owned());
                    word.clear();
                }
                if !character.is_whitespace() {
                    found.push(character.to_string());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::money_write;

    #[test]
    fn writes_of_money_are_found() {
        let cases = [
            "UPDATE users SET quota = quota + 500 WHERE id = 1",
            "update  public.users\n  as u set status = 1, used_quota=0",
            "UPDATE ONLY users SET (status, quota) = (1, 2)",
            "UPDATE \"users\" \\\n SET \"quota\" = 1",
            "WITH x AS (SELECT 1) UPDATE users u SET revision = 1 FROM x WHERE x.id = u.id",
            "INSERT INTO users (username, quota) VALUES ('a', 1)",
            "INSERT INTO holds (id) SELECT unnest($1)",
            "UPDATE holds SET deadline_at = now()",
            "DELETE FROM holds WHERE id = $1",
            "INSERT INTO logs (user_id, type, delta) VALUES (1, 'refund', 2)",
            "UPDATE logs SET hold_id = NULL",
            "DELETE FROM logs",
            "UPDATE tokens SET remain_quota = remain_quota - 1",
            "UPDATE channels SET used_quota = 0",
            "COPY holds (id) FROM STDIN",
            "TRUNCATE TABLE holds",
            "INSERT INTO ledger_carry (user_id) VALUES (1)",
        ];
        for sql in cases {
            assert!(money_write(sql).is_some(), "{sql}");
        }
    }

    #[test]
    fn what_only_reads_or_writes_other_things_is_fine() {
        let cases = [
            "SELECT quota FROM users WHERE quota = 1",
            "UPDATE users SET status = 2 WHERE quota = 0",
            "UPDATE users SET \"group\" = 'vip' RETURNING quota",
            "UPDATE channels SET status = 3",
            "UPDATE abilities SET fixed_quota = 1",
            "INSERT INTO users (username, role) VALUES ('root', 100)",
            "INSERT INTO tokens (user_id, remain_quota) VALUES (1, 5)",
            "INSERT INTO logs (user_id, type, content) VALUES (1, 'manage', 'x')",
            "SELECT delta FROM logs; update of something",
            "the update failed: users set it so",
        ];
        for sql in cases {
            assert_eq!(money_write(sql), None, "{sql}");
        }
    }
}
