"""How the page looks, on paper, light and dark screens and phones, and the script that sorts its tables."""

STYLE = """
:root{
 --paper:#ffffff;--ink:#1a1a1a;--soft:#565c64;--line:#dfe3e8;--wash:#f5f7f9;--link:#0b5cad;
 --saves:#0b6e4f;--saves-wash:#e3f4ec;--costs:#a04400;--costs-wash:#fdeedd;--same-wash:#eceff2;
 --serif:"Iowan Old Style",Charter,"Bitstream Charter","Source Serif 4",Georgia,serif;
 --sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
 --mono:ui-monospace,"SF Mono","Cascadia Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
}
@media screen and (prefers-color-scheme:dark){:root{
 --paper:#14171a;--ink:#e8e8e8;--soft:#a0a8b1;--line:#2c3238;--wash:#1b1f24;--link:#7cb7ff;
 --saves:#6fd3a6;--saves-wash:#143528;--costs:#f4ad6b;--costs-wash:#3a2612;--same-wash:#262b31;
}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:1.0625rem/1.62 var(--serif);
 display:grid;grid-template-columns:minmax(1rem,1fr) minmax(0,44rem) minmax(1rem,1fr)}
header,nav,main{grid-column:2}
header{padding:4.5rem 0 1rem}
h1{font:700 clamp(2rem,5.2vw,3.1rem)/1.1 var(--serif);letter-spacing:-.018em;margin:0;text-wrap:balance}
.line{font:1.06rem/1.45 var(--sans);color:var(--soft);margin:.9rem 0 0}
h2{font:700 1.85rem/1.2 var(--serif);letter-spacing:-.01em;margin:.2rem 0 1.1rem;text-wrap:balance}
h2 .place{color:var(--soft);font-weight:400;margin-right:.65rem}
h3{font:650 1.02rem/1.3 var(--sans);margin:2.3rem 0 .7rem}
h4{font:650 .9rem/1.3 var(--sans);margin:0 0 .55rem}
p{margin:0 0 1rem}
section{border-top:1px solid var(--line);margin-top:4rem;padding-top:2.2rem;scroll-margin-top:.5rem}
.over{font:600 .78rem/1.3 var(--sans);letter-spacing:.03em;color:var(--soft);margin:0}
a{color:var(--link);text-decoration-thickness:.06em;text-underline-offset:.16em;overflow-wrap:anywhere}
code{font:.86em var(--mono);background:var(--wash);padding:.08em .3em;border-radius:.25em;overflow-wrap:anywhere}
pre{background:var(--wash);border:1px solid var(--line);border-radius:.5rem;padding:.8rem 1rem;overflow-x:auto;line-height:1.55}
pre code{padding:0;background:none;font-size:.8rem;overflow-wrap:normal}
ul{padding-left:1.15rem;margin:0 0 1rem}
li{margin:0 0 .45rem}
nav{font:.92rem/1.5 var(--sans);border-block:1px solid var(--line);margin:1.4rem 0 2rem;padding:.9rem 0}
nav ol{margin:0;padding-left:1.5rem;columns:2;column-gap:2rem}
nav li{margin:0 0 .2rem;color:var(--soft);break-inside:avoid}
nav a{color:inherit;text-decoration:none}
nav a:hover,nav a:focus-visible{color:var(--link);text-decoration:underline}
.wide{width:min(66rem,100vw - 2rem);margin-left:50%;transform:translateX(-50%)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(19rem,100%),1fr));gap:1rem;max-width:44rem;margin-block:0 1.5rem}
.tile{border:1px solid var(--line);border-radius:.7rem;padding:1rem 1.1rem .75rem;font-family:var(--sans)}
.tile dl{margin:0;display:grid;gap:.6rem 2rem}
.tile:only-child dl{grid-template-columns:repeat(auto-fit,minmax(min(15rem,100%),1fr))}
.tile dt{font-size:.78rem;color:var(--soft);display:flex;justify-content:space-between;align-items:center}
.tile dd{margin:.05rem 0 0;font-variant-numeric:tabular-nums;line-height:1.35}
.tile b{font-size:1.15rem;font-weight:650;letter-spacing:-.01em}
.tile small{color:var(--soft);font-size:.8rem;white-space:nowrap}
.badge{margin-left:auto}
.badge{font:600 .76rem/1.5 var(--sans);padding:.06rem .5rem;border-radius:1rem;white-space:nowrap;background:var(--same-wash);
 color:var(--soft);font-variant-numeric:tabular-nums}
.badge.saves,.badge.agrees{background:var(--saves-wash);color:var(--saves)}
.badge.costs,.badge.differs{background:var(--costs-wash);color:var(--costs)}
.forms{border:1px solid var(--line);border-radius:.5rem;padding:.85rem 1rem;margin:0 0 1rem}
.forms dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.3rem .9rem;margin:0;font:.82rem/1.5 var(--mono)}
.forms dt{color:var(--soft)}
.forms dt:nth-of-type(even){padding-left:.9rem}
.forms dd{margin:0}
.forms dd span{display:inline-block}
.sheet{overflow-x:auto;margin-block:.4rem .5rem;border-block:1px solid var(--line)}
.sheet:focus-visible{outline:2px solid var(--link)}
table{border-collapse:collapse;width:100%;font:.83rem/1.4 var(--sans);font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:600;border-bottom:1px solid var(--line);padding:0;vertical-align:bottom}
th button{all:unset;box-sizing:border-box;display:block;width:100%;padding:.5rem .45rem;cursor:pointer;line-height:1.25}
th button:hover{color:var(--link)}
th button:focus-visible{outline:2px solid var(--link);outline-offset:-2px}
th[aria-sort] button{color:var(--link)}
th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
th small{display:block;font-weight:400;color:var(--soft)}
th.n,td.n{text-align:right}
td{padding:.36rem .45rem;border-bottom:1px solid var(--line);vertical-align:top;white-space:nowrap}
td.long{white-space:normal;min-width:11rem}
td.long.counted{min-width:17rem}
td.claim{white-space:normal;min-width:7.5rem}
tbody tr:last-child td{border-bottom:0}
tbody tr:hover td{background:var(--wash)}
th:first-child,td:first-child{position:sticky;left:0;background:var(--paper);padding-left:0}
th:first-child button{padding-left:0}
.note{font:.79rem/1.5 var(--sans);color:var(--soft);margin:0 0 1.3rem}
figure{margin-block:1.8rem 2rem;max-width:52rem}
figure svg{display:block;width:100%;height:auto}
figure svg *{stroke-linejoin:round;stroke-linecap:butt}
figcaption{font:.83rem/1.5 var(--sans);color:var(--soft);max-width:44rem;margin:.7rem auto 0}
figcaption strong{color:var(--ink)}
.column{display:none}
.misread{border-left:3px solid var(--costs);background:var(--wash);border-radius:0 .5rem .5rem 0;padding:1rem 1.2rem .35rem;
 margin:0 0 1.2rem}
.misread p{margin:0 0 .55rem}
.misread .claim{font-style:italic}
.misread .seen{font:.78rem/1.45 var(--sans);color:var(--soft);margin-bottom:.8rem}
.label{font:650 .72rem/1 var(--sans);font-style:normal;border-radius:1rem;padding:.2rem .55rem;margin-right:.35rem;
 background:var(--costs-wash);color:var(--costs)}
.fact .label{background:var(--saves-wash);color:var(--saves)}
@media (max-width:40rem){
 body{font-size:1rem}
 header{padding-top:2.2rem}
 nav ol{columns:1}
 .wide{width:100%;margin-left:0;transform:none}
 td:first-child{white-space:normal;max-width:9rem}
 .page{display:none}
 .column{display:block}
 .forms dl{display:block}
 .forms dt,.forms dt:nth-of-type(even){padding:0}
 .forms dd{margin:0 0 .5rem}
 section{margin-top:3rem}
 h2{font-size:1.5rem}
}
@media print{
 body{display:block;font-size:9.5pt}
 nav,pre,th button::after{display:none}
 .wide{width:100%;margin-left:0;transform:none;max-width:none}
 .sheet{overflow:visible}
 table{font-size:6.8pt}
 td,td.long{white-space:normal;min-width:0;overflow-wrap:anywhere}
 td,th button{padding:.15rem .3rem}
 td.n{overflow-wrap:normal}
 th:first-child,td:first-child{position:static}
 figure,.tile,.misread,tr{break-inside:avoid}
 h2,h3,h4{break-after:avoid}
 section{margin-top:1.5rem}
 a{color:inherit}
}
""".strip()

SORTING = """
"use strict";
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    const byNumber = head.dataset.sort === "number";
    const key = row => {
      const cell = row.cells[place];
      return byNumber ? (cell.dataset.sort === undefined ? null : Number(cell.dataset.sort)) : cell.textContent;
    };
    const missing = value => value === null || value === "-";
    const rows = [...body.rows].map(row => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      const order = byNumber ? a - b : a.localeCompare(b, "en", {numeric: true});
      return up ? order : -order;
    });
    body.append(...rows.map(([, row]) => row));
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
  }));
}
""".strip()
