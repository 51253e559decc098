//! What a frame looks like, at every size.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::top::board::Board;

fn board() -> Board {
    let mut board = Board::default();
    let block = "\
2026-11-21T06:40:00.000+00:00 INFO health dashboard: back-end 1/2 up, backups 1/1
      peer             tier    state                                          for    share  in flight
  back-end: 1/2 peers up, 1/1 backups up
    + 172.18.0.4:5252          up                                             3m12s  50.0%          2
    ! 172.18.0.5:5252          ejected for answer, 12 of 30 failed, 7s left  3s     50.0%          0
    + 172.18.0.6:5252  backup  up                                             3m12s   0.0%          0
2026-11-21T06:40:00.000+00:00 WARN name has no address any more upstream=back-end host=back-end error=\"no such name (NXDOMAIN)\"";
    for line in block.lines() {
        assert!(board.feed(line.as_bytes()), "{line}");
    }
    board
}

fn frame(board: &Board, screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(frame, board, screen)).expect("it is drawn");
    let buffer = terminal.backend().buffer().clone();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

#[test]
fn a_terminal_of_80_by_24_shows_peers_events_and_keys() {
    let lines = frame(&board(), &mut Screen::default(), 80, 24);
    assert!(lines[0].starts_with("robin top  "), "{lines:#?}");
    assert!(lines[0].contains("1 upstream  2/3 peers up"), "{lines:#?}");
    assert!(lines[2].starts_with("back-end  1/2 up, backups 1/1"), "{lines:#?}");
    let has = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(has("no such name (NXDOMAIN)") && has("+ 172.18.0.4:5252 up"), "{lines:#?}");
    assert!(
        has("    ejected for answer, 12 of 30 failed, 7s left"),
        "the whole reason: {lines:#?}"
    );
    assert!(has("WARN  name has no address any more"), "{lines:#?}");
    assert!(lines[23].starts_with("q quit"), "{lines:#?}");
}

#[test]
fn every_size_can_be_drawn() {
    let board = board();
    for (width, height) in [(1, 1), (2, 3), (10, 4), (40, 10), (80, 24), (200, 50), (300, 2)] {
        for help in [false, true] {
            let mut screen = Screen { help, scrolled: usize::MAX, ..Screen::default() };
            assert_eq!(frame(&board, &mut screen, width, height).len(), usize::from(height));
        }
    }
    for width in 0..200 {
        let text = text(&board, width, false);
        assert!(text.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
    }
}

#[test]
fn what_does_not_fit_is_scrolled_to_and_no_further() {
    let board = board();
    let mut screen = Screen { scrolled: usize::MAX, ..Screen::default() };
    let lines = frame(&board, &mut screen, 40, 6);
    assert!(lines.iter().any(|line| line.contains("172.18.0.6")), "{lines:#?}");
    assert_eq!(screen.scrolled, 3, "six lines, three of which are shown");
    assert_eq!(screen.page, 3);
}

#[test]
fn no_byte_from_outside_is_a_command_to_the_terminal() {
    let mut board = Board::default();
    let evil = r#"{"ts":"2026-11-21T06:40:00Z","level":"\u001b[2J","event":"a\u0000b","upstream":"\u001b]0;x\u0007","peer":"\r\n\u009b31m","reason":"\u202e"}"#;
    assert!(board.feed(evil.as_bytes()));
    let text = text(&board, 200, false);
    assert!(text.chars().all(|c| c == '\n' || c == '…' || (' '..='~').contains(&c)), "{text:?}");
    assert!(text.contains(r"\x1B]0;x\x07"), "{text:?}");
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    assert!(text(&board(), 80, true).contains("\u{1b}[32m"));
    assert!(!text(&board(), 80, false).contains('\u{1b}'));
}

#[test]
fn bars_are_as_high_as_their_counts() {
    assert_eq!(sparkline(&[0.0, 1.0, 4.0, 8.0]), " ▁▄█");
    assert_eq!(sparkline(&[0.0, 0.0]), "  ");
}
