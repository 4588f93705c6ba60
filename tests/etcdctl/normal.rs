//! What differs from run to run, named: ids, addresses, times and sizes.

use tidegate_tests::Server;

/// Columns of tables whose values depend on the machine, the moment or the engine.
const VOLATILE: [&str; 7] =
    ["DB SIZE", "IN USE", "PERCENTAGE NOT IN USE", "RAFT TERM", "RAFT INDEX", "RAFT APPLIED INDEX", "TOOK"];

/// Values of this run by their names in scripts.
pub(crate) struct Names {
    known: Vec<(String, String)>,
    leases: usize,
}

impl Names {
    pub(crate) fn of(server: &Server) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let status = runtime.block_on(server.client().status(Default::default())).unwrap();
        let header = status.header.unwrap();
        let ids = [("member", header.member_id), ("cluster", header.cluster_id)];
        let mut known = vec![
            ("{endpoint}".to_owned(), server.endpoint()),
            ("{address}".to_owned(), server.address()),
            ("{peer}".to_owned(), format!("http://127.0.0.1:{}", server.peer_port())),
        ];
        for (name, id) in ids {
            known.push((format!("{{{name}}}"), format!("{id:x}")));
            known.push((format!("{{{name} in tens}}"), id.to_string()));
        }
        Self { known, leases: 0 }
    }

    /// An argument with the values in place of their names.
    pub(crate) fn resolve(&self, arg: &str) -> String {
        self.known.iter().fold(arg.to_owned(), |arg, (name, value)| arg.replace(name, value))
    }

    /// Leases get names when they are granted.
    pub(crate) fn learn(&mut self, lines: &[String]) {
        for line in lines {
            let granted = line.strip_prefix("lease ").and_then(|rest| rest.split_once(" granted "));
            if let Some((id, _)) = granted
                && self.known.iter().all(|(_, value)| value != id)
            {
                self.leases += 1;
                let number = i64::from_str_radix(id, 16).unwrap();
                self.known.push((format!("{{lease{}}}", self.leases), id.to_owned()));
                self.known.push((format!("{{lease{} in tens}}", self.leases), number.to_string()));
            }
        }
    }

    pub(crate) fn normal(&self, lines: &[String]) -> Vec<String> {
        let named =
            |line: &String| self.known.iter().fold(line.clone(), |line, (name, value)| line.replace(value, name));
        let mut header = Vec::new();
        let mut normal = Vec::new();
        for line in lines {
            // Widths of a table follow its longest cell: keep the cells, drop the frame.
            if line.starts_with(['┌', '├', '└', '+']) {
                continue;
            }
            let line = named(line);
            if let Some(cells) = cells(&line) {
                if header.is_empty() {
                    header.clone_from(&cells);
                }
                normal.push(row(&header, &cells));
            } else {
                normal.push(after_number(
                    &after_number(&after_number(&timeless(&line), "\"raft_term\":"), "\"RaftTerm\" : "),
                    "remaining(",
                ));
            }
        }
        normal
    }
}

fn cells(line: &str) -> Option<Vec<String>> {
    let bar = ['│', '|'];
    let inside = line.strip_prefix(bar)?.strip_suffix(bar)?;
    Some(inside.split(bar).map(|cell| cell.trim().to_owned()).collect())
}

fn row(header: &[String], cells: &[String]) -> String {
    let shown = cells.iter().zip(header).map(|(cell, name)| match VOLATILE.contains(&name.as_str()) && cell != name {
        true => "*",
        false => cell,
    });
    format!("| {} |", shown.collect::<Vec<_>>().join(" | "))
}

/// Without what stands behind `took = `.
fn timeless(line: &str) -> String {
    line.split_once("took = ").map_or_else(|| line.to_owned(), |(before, _)| format!("{before}took = *"))
}

/// With a star in place of the number behind each `mark`.
fn after_number(line: &str, mark: &str) -> String {
    let mut parts = line.split(mark);
    let mut normal = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        normal.push_str(mark);
        normal.push('*');
        normal.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    normal
}
