//! The dashboard's block as text: its columns are where its titles stand.

use super::pairs::short;

/// What is known of the block that is being read.
#[derive(Clone, Debug, Default)]
pub(in crate::top) struct Block {
    columns: Vec<Column>,
}

#[derive(Clone, Debug)]
struct Column {
    title: &'static str,
    /// The first and the last column of its title on the screen, counted in characters.
    from: usize,
    to: usize,
}

/// Titles as the dashboard has them; behind the first six, cells end where the title does.
const TITLES: [&str; 10] = [
    "peer",
    "server",
    "tier",
    "state",
    "for",
    "last probe",
    "share",
    "failed",
    "p50/p99",
    "in flight",
];
const LEFT: usize = 6;

/// A line of a block.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::top) enum Row {
    /// The titles.
    Titles,
    /// An upstream: its name, how many peers follow, and what else the line says.
    Upstream {
        /// Its name.
        name: String,
        /// How many peers it has.
        peers: usize,
        /// Whether all are used because too many are out.
        panic: bool,
        /// What discovery has to complain about.
        trouble: Option<String>,
    },
    /// A peer.
    Peer(Cells),
}

/// What a peer's row says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::top) struct Cells {
    pub(in crate::top) address: String,
    pub(in crate::top) host: String,
    pub(in crate::top) backup: bool,
    pub(in crate::top) words: String,
    pub(in crate::top) lasting_ms: Option<u64>,
    pub(in crate::top) share: Option<f64>,
    pub(in crate::top) p50_ms: Option<f64>,
    pub(in crate::top) p99_ms: Option<f64>,
    pub(in crate::top) in_flight: Option<u64>,
}

/// The upstreams that the block's first line names.
pub(super) fn names(text: &str) -> Vec<String> {
    let list = text.split_once(": ").map_or("", |(_, list)| list);
    if list == "no upstreams" {
        return Vec::new();
    }
    list.split("; ").filter_map(|item| item.split(' ').next()).map(str::to_owned).collect()
}

impl Block {
    /// Reads a line of the block.
    pub(in crate::top) fn read(&mut self, line: &str) -> Option<Row> {
        let indent = line.len() - line.trim_start_matches(' ').len();
        match indent {
            2 => upstream(line.trim()),
            4 => self.peer(line).map(Row::Peer),
            6 if line.trim_start().starts_with("peer ") => {
                self.columns = titles(line);
                Some(Row::Titles)
            }
            _ => None,
        }
    }

    fn peer(&self, line: &str) -> Option<Cells> {
        let chars: Vec<char> = line.chars().collect();
        // The mark stands alone; the state's words say the same.
        (chars.get(5) == Some(&' ')).then_some(())?;
        let mut cells = Cells::default();
        // Cells at the right end where their titles do, and may begin before them.
        let right = |column: &Column| {
            let end = (column.to <= chars.len()).then_some(column.to)?;
            let begin = chars[..end].iter().rposition(|c| *c == ' ')? + 1;
            (begin < end).then_some((begin, end))
        };
        let mut limit = chars.len();
        for column in self.columns.iter().rev() {
            let is_left = TITLES[..LEFT].contains(&column.title);
            let span = if is_left { Some((column.from, limit)) } else { right(column) };
            let Some((begin, end)) = span else { continue };
            let cell: String = chars.get(begin..end).unwrap_or_default().iter().collect();
            limit = begin.min(limit);
            cells.set(column.title, cell.trim());
        }
        (!cells.address.is_empty()).then_some(cells)
    }
}

impl Cells {
    fn set(&mut self, title: &str, cell: &str) {
        let millis = |text: &str| short(text).map(|time| time.as_secs_f64() * 1000.0);
        match title {
            "peer" => self.address = cell.to_owned(),
            "server" => self.host = cell.to_owned(),
            "tier" => self.backup = cell == "backup",
            "state" => self.words = cell.to_owned(),
            "for" => self.lasting_ms = millis(cell).map(|millis| millis as u64),
            "share" => self.share = cell.strip_suffix('%').and_then(|share| share.parse().ok()),
            "p50/p99" => {
                let (half, most) = cell.split_once('/').unwrap_or_default();
                (self.p50_ms, self.p99_ms) = (millis(half), millis(most));
            }
            "in flight" => self.in_flight = cell.parse().ok(),
            _ => {}
        }
    }
}

fn titles(line: &str) -> Vec<Column> {
    let mut from = 0;
    let mut columns = Vec::new();
    for title in TITLES {
        // Titles are ASCII, and so is this line: a place in bytes is one in characters.
        let Some(at) = line.get(from..).and_then(|rest| rest.find(title)) else { continue };
        columns.push(Column { title, from: from + at, to: from + at + title.len() });
        from += at + title.len();
    }
    columns
}

/// `back-end: 1/3 peers up, 1/1 backups up, panic: … (trouble)`, or `api: no addresses: trouble`.
fn upstream(line: &str) -> Option<Row> {
    let no_addresses = line.split_once(": no addresses");
    if let Some((name, trouble)) = no_addresses {
        let trouble = trouble.strip_prefix(": ").unwrap_or("no addresses yet").to_owned();
        let (name, trouble) = (name.to_owned(), Some(trouble));
        return Some(Row::Upstream { name, peers: 0, panic: false, trouble });
    }
    // A name may have a colon; the counts have none before them.
    let (counts, _) = line.split_once(" peers up")?;
    let (name, primaries) = counts.rsplit_once(": ")?;
    let total = |counts: &str| counts.split_once('/').and_then(|(_, of)| of.parse::<usize>().ok());
    let backups = line.split_once(" backups up").and_then(|(before, _)| before.rsplit(' ').next());
    let backups = backups.and_then(total).unwrap_or(0);
    let trouble = line.split_once(" (").and_then(|(_, rest)| rest.strip_suffix(')'));
    Some(Row::Upstream {
        name: name.to_owned(),
        peers: total(primaries)?.saturating_add(backups),
        panic: line.contains(", panic: "),
        trouble: trouble.map(str::to_owned),
    })
}
