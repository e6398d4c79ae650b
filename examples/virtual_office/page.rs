//! Owns the page: one file that needs no server and no network, with a slider over all ticks. Its right end is the end; left of
//! it is the past.

use crate::report::Report;
use worksite_simulation::office::{Almanac, OfficeEntry, OfficeError};

/// The page of a run, with these pictures.
pub fn page(report: &Report, pictures: &[String]) -> Result<String, OfficeError> {
    let almanac = Almanac::of(&report.charter.calendar)?;
    let people: Vec<_> = report.charter.colleagues.iter().map(|colleague| (colleague.id, &colleague.name)).collect();
    let events: Vec<_> = report.transcript.entries().iter().filter_map(event).collect();
    let days: Vec<_> = (0..=report.tick / report.charter.calendar.ticks_per_day)
        .map(|day| almanac.clock(almanac.begin_of(day))[..14].to_string())
        .collect();
    let data = serde_json::json!({
        "people": people,
        "days": days,
        "ticksPerDay": report.charter.calendar.ticks_per_day,
        "begins": report.charter.calendar.begins_minute,
        "ticks": report.tick,
        "events": events,
    });
    // What people wrote may hold the end of a script.
    let data = data.to_string().replace("</", "<\\/");
    Ok(PAGE
        .replace("@PICTURES@", &pictures.concat())
        .replace("@DIGEST@", &report.transcript.digest())
        .replace("@DATA@", &data))
}

/// What the page is told of an entry: its tick, what it is, about whom, and the text.
fn event(entry: &OfficeEntry) -> Option<serde_json::Value> {
    Some(match entry {
        OfficeEntry::Mail { to, mail } => {
            let said = if mail.subject.is_empty() { &mail.body } else { &mail.subject };
            serde_json::json!([mail.lands, "mail", to, format!("{} ({}): {said}", mail.from_name, mail.channel.name())])
        }
        OfficeEntry::Answer(row) => {
            serde_json::json!([row.tick, "plan", row.person, "", row.read.len(), row.answer.cost_micros])
        }
        OfficeEntry::Fired { tick, happening } => serde_json::json!([tick, "event", 0, happening.summary()]),
        OfficeEntry::Input(row) => {
            let said = row.result.as_ref().unwrap_or_else(|why| why);
            serde_json::json!([row.tick, "input", 0, said])
        }
        OfficeEntry::Founded(_) | OfficeEntry::Report(_) => return None,
    })
}

const PAGE: &str = r##"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>The office</title>
<style>
body{font:15px/1.4 sans-serif;max-width:64em;margin:1.5em auto;padding:0 1em}
input[type=range]{width:100%} #clock{font-size:1.4em;font-weight:bold}
main{display:grid;grid-template-columns:3fr 2fr;gap:1.5em} ol{list-style:none;padding:0;margin:0;height:26em;overflow:hidden}
li{white-space:nowrap;overflow:hidden;text-overflow:ellipsis} .event{color:#b40} .input{color:#06a}
meter{width:9em} td{padding:0 .5em} code{word-break:break-all} svg{max-width:100%;height:auto}
</style></head><body>
<p><span id="clock"></span> · tick <span id="tick"></span> · cost <span id="cost"></span></p>
<input id="slider" type="range" min="0" step="1" aria-label="tick">
<p><button id="play">play</button> the slider's right end is the end of the run; everything left of it is the past</p>
<main><ol id="feed"></ol><table id="people"></table></main>
@PICTURES@
<p>digest <code>@DIGEST@</code></p>
<script id="data" type="application/json">@DATA@</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const get = id => document.getElementById(id), slider = get("slider");
slider.max = data.ticks; slider.value = data.ticks;
const names = new Map(data.people);
const rows = new Map(data.people.map(([id, name]) => {
  const row = get("people").insertRow(), meter = document.createElement("meter");
  meter.max = 20; meter.high = 17; meter.low = 12; meter.optimum = 0;
  row.insertCell().textContent = name; row.insertCell().append(meter);
  return [id, { meter, count: row.insertCell() }];
}));
function clock(tick) {
  const day = Math.min(Math.floor(tick / data.ticksPerDay), data.days.length - 1);
  const minute = data.begins + tick - day * data.ticksPerDay, two = n => String(n).padStart(2, "0");
  return data.days[day] + " " + two(Math.floor(minute / 60) % 24) + ":" + two(minute % 60);
}
function show() {
  const tick = Number(slider.value), depth = new Map(), feed = []; let cost = 0;
  for (const [at, kind, who, text, read, paid] of data.events) {
    if (at > tick) break;
    if (kind === "mail") depth.set(who, (depth.get(who) || 0) + 1);
    if (kind === "plan") { depth.set(who, (depth.get(who) || 0) - read); cost += paid; continue; }
    feed.push([at, kind, kind === "mail" ? "→ " + (names.get(who) || "?") + " " + text : text]);
  }
  get("clock").textContent = clock(tick); get("tick").textContent = tick; get("cost").textContent = cost;
  get("feed").replaceChildren(...feed.slice(-18).map(([at, kind, text]) => {
    const line = document.createElement("li"); line.className = kind;
    line.textContent = clock(at).slice(-5) + " " + text; line.title = line.textContent; return line;
  }));
  for (const [id, row] of rows) { const unread = depth.get(id) || 0; row.meter.value = unread; row.count.textContent = unread; }
}
let timer = null;
get("play").onclick = () => {
  if (timer) { clearInterval(timer); timer = null; return; }
  if (Number(slider.value) >= data.ticks) slider.value = 0;
  timer = setInterval(() => { slider.value = Number(slider.value) + 2; show(); if (Number(slider.value) >= data.ticks) { clearInterval(timer); timer = null; } }, 40);
};
slider.oninput = show; show();
</script></body></html>
"##;
