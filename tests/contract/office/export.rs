//! A transcript is for others to read: lines, a page, mail.

use super::*;
use worksite_simulation::office::{Input, Transcript};

async fn day() -> (Office, Transcript) {
    let mut office = in_memory(&MemoryDisk::default(), charter(7)).await;
    let tag = Input::Write {
        to: vec![2],
        from_name: "<b>a client</b>\nBcc: x".into(),
        subject: "a & b\r\nX: y".into(),
        body: "From here\n>From there\n<script>alert(1)</script>".into(),
    };
    office.enter(tag).await.unwrap();
    run(&mut office, DAY).await;
    let transcript = office.transcript().await.unwrap();
    (office, transcript)
}

#[tokio::test]
async fn as_lines_it_is_read_back() {
    let (_, transcript) = day().await;
    let lines = transcript.lines();
    assert_eq!(lines.lines().count(), transcript.entries().len());
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert_eq!(Transcript::read(&lines).unwrap(), transcript);
}

#[tokio::test]
async fn as_mail_every_email_is_there_once_and_nothing_in_it_breaks_out() {
    let (_, transcript) = day().await;
    let mbox = transcript.mbox().unwrap();
    let begins = mbox.lines().filter(|line| line.starts_with("From ")).count();
    let mut emails: Vec<_> = transcript.mail().filter(|(_, mail)| mail.channel.name() == "email").collect();
    emails.sort_by_key(|(_, mail)| mail.id);
    emails.dedup_by_key(|(_, mail)| mail.id);
    assert_eq!(begins, emails.len());
    assert!(mbox.contains("\n>From here\n>>From there\n"), "{mbox}");
    assert!(!mbox.lines().any(|line| line.starts_with("Bcc:") || line.starts_with("X:")), "a header is one line");
    assert!(mbox.contains("In-Reply-To: <m"));
}

#[tokio::test]
async fn as_a_page_it_needs_nothing_else_and_runs_nothing() {
    let (_, transcript) = day().await;
    let page = transcript.html().unwrap();
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "what people write is text");
    assert!(!page.contains("http"), "nothing is fetched");
    assert!(page.contains(&transcript.digest()) && page.contains("Mon 2026-01-05 09:00"));
    assert!(Transcript::default().html().is_err(), "without a charter there are no names");
}
