// The gateway for plain HTTP clients, called by pages in a real browser. `cargo xtask web` runs it:
//
//     node test/gateway.mjs /path/to/valkyrie /path/to/examples/gateway [/path/to/chromium]
//
// Two servers of an empty page are two origins; one is allowed to call (`--web-origin`), the other is not. The gateway is that of
// `valkyrie serve`; for streams it is that of the example `gateway` of the crate valkyrie, a room in which pages talk.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { chromium } from 'playwright-core';

const [valkyrie, example, browserPath = '/usr/bin/chromium'] = process.argv.slice(2);
assert.ok(valkyrie && example, 'usage: node test/gateway.mjs /path/to/valkyrie /path/to/gateway [/path/to/chromium]');

/** The cases, each with the page that it runs in. What they are given is where the two gateways are. */
const CASES = [
  ['a page of an allowed origin calls, in JSON and in bytes', 'allowed', async ({ serve }) => {
    const post = (body, headers) => fetch(`${serve}/v2/call/echo/echo`, { method: 'POST', body, headers });
    const json = await post('{"a":1}', { 'content-type': 'application/json' });
    if (json.headers.get('content-type') !== 'application/json' || (await json.json()).a !== 1) return 'JSON';
    const sent = Uint8Array.from({ length: 300_000 }, (_, index) => (index * 31) % 251);
    const bytes = await post(sent, { 'valkyrie-timeout': '20s' });
    const came = new Uint8Array(await bytes.arrayBuffer());
    return (came.length === sent.length && came.every((byte, index) => byte === sent[index])) || 'bytes';
  }],
  ['failures can be read, with their codes', 'allowed', async ({ serve }) => {
    const failed = await fetch(`${serve}/v2/call/echo/fail`, { method: 'POST', body: '404' });
    const problem = await failed.json();
    const type = failed.headers.get('content-type');
    return (failed.status === 409 && type === 'application/problem+json' && problem.code === 404) || JSON.stringify(problem);
  }],
  ['a page that goes away hangs up, and one that waits too long is told', 'allowed', async ({ serve }) => {
    const delay = (more) => fetch(`${serve}/v2/call/echo/delay`, { method: 'POST', body: '60s', ...more });
    const giveUp = new AbortController();
    const call = delay({ signal: giveUp.signal }).catch(({ name }) => name);
    giveUp.abort();
    const late = await delay({ headers: { 'valkyrie-timeout': '50ms' } });
    return ((await call) === 'AbortError' && late.status === 504) || [await call, late.status].join();
  }],
  ['events are read as they come, while the stream goes on', 'allowed', async ({ room, events, say }) => {
    const hearing = events(`${room}/v2/call/room/hear`);
    const first = await hearing.next();
    if (first.value?.data !== 'welcome') return JSON.stringify(first);
    for (const words of ['hello', 'two\nlines', 'grüße']) {
      // Each is said after the one before was heard: nothing may wait until there is more.
      if ((await say(room, words)).status !== 200) return `saying ${words}`;
      const next = await hearing.next();
      if (next.value?.data !== words) return JSON.stringify(next);
    }
    await hearing.return();
    return true;
  }],
  ['who stops reading events is no listener any more', 'allowed', async ({ room, events, say }) => {
    const hearing = [0, 1].map(() => events(`${room}/v2/call/room/hear`));
    for (const each of hearing) await each.next();
    await hearing[0].return();
    // The gateway learns it from the connection, so it is asked until it has.
    for (let asked = 0; asked < 10_000; asked += 1) {
      const listeners = await (await say(room, 'is anybody there?')).text();
      if (listeners === '1') {
        await hearing[1].return();
        return true;
      }
    }
    return 'it is counted still';
  }],
  ['a page of another origin reads no answer, and no call is made for it', 'refused', async ({ room, serve, events, say }) => {
    const outcomes = [
      // Without a preflight, as an old form would send it.
      await say(room, 'from a page that may not').then(() => 'answered', (error) => error.name),
      // With one.
      await fetch(`${serve}/v2/call/echo/echo`, {
        method: 'POST',
        body: '{}',
        headers: { 'content-type': 'application/json' },
      }).then(() => 'answered', (error) => error.name),
      await events(`${room}/v2/call/room/hear`).next().then(() => 'answered', (error) => error.name),
    ];
    return outcomes.every((outcome) => outcome === 'TypeError') || outcomes.join();
  }],
  ['what that page said was heard by nobody', 'allowed', async ({ room, events, say }, other) => {
    const hearing = events(`${room}/v2/call/room/hear`);
    await hearing.next();
    await other();
    await say(room, 'from a page that may');
    const next = await hearing.next();
    await hearing.return();
    return next.value?.data === 'from a page that may' || next.value?.data;
  }],
  ['a page of the gateway itself needs no permission', 'own', async ({ serve }) => {
    const answer = await fetch('/v2/call/echo/echo', { method: 'POST', body: 'home' });
    return ((await answer.text()) === 'home' && location.origin === serve) || location.origin;
  }],
];

/** What cases use, in the page. */
const TOOLS = `({
  say: (room, words) => fetch(room + '/v2/call/room/say', { method: 'POST', body: words }),
  events: async function* (url) {
    const giveUp = new AbortController();
    try {
      const answer = await fetch(url, { method: 'POST', headers: { accept: 'text/event-stream' }, signal: giveUp.signal });
      if (answer.headers.get('content-type') !== 'text/event-stream') throw new Error('no events: ' + answer.status);
      let text = '';
      for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
        text += chunk;
        for (let end; (end = text.indexOf('\\n\\n')) >= 0; text = text.slice(end + 2)) {
          const event = { name: 'message', data: [] };
          for (const line of text.slice(0, end).split('\\n')) {
            if (line.startsWith('event: ')) event.name = line.slice(7);
            if (line.startsWith('data:')) event.data.push(line.slice(5).replace(/^ /, ''));
          }
          if (event.data.length > 0) yield { name: event.name, data: event.data.join('\\n') };
        }
      }
    } finally {
      giveUp.abort();
    }
  },
})`;

const home = mkdtempSync(join(tmpdir(), 'valkyrie-web-'));
const fronts = [await front(), await front()];
const [allowed, refused] = fronts.map((each) => `http://127.0.0.1:${each.address().port}`);
const programs = [
  spawn(valkyrie, [
    'serve', '--listen', 'tcp://127.0.0.1:0', '--gateway', 'http://127.0.0.1:0', '--web-origin', allowed,
    '--identity', join(home, 'keys'),
  ], { stdio: ['ignore', 'pipe', 'inherit'] }),
  spawn(example, ['http://127.0.0.1:0', allowed], { stdio: ['ignore', 'pipe', 'inherit'] }),
];
let browser;
let failures = 0;
try {
  const [serve, room] = await Promise.all(programs.map(listening));
  browser = await chromium.launch({
    executablePath: browserPath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  const pages = {};
  // A page of the gateway is the one document that it has.
  for (const [name, place] of Object.entries({ allowed, refused, own: `${serve}/openapi.json` })) {
    pages[name] = await browser.newPage();
    await pages[name].goto(place);
  }
  // Says something from the page that may not.
  await pages.allowed.exposeFunction('other', () => pages.refused.evaluate(
    (room) => fetch(`${room}/v2/call/room/say`, { method: 'POST', body: 'from a page that may not' }).catch(() => {}),
    room,
  ).then(() => {}));
  for (const [name, page, run] of CASES) {
    const outcome = await pages[page].evaluate(
      async ({ source, tools, places }) => {
        const limit = new Promise((resolve) => setTimeout(() => resolve('it hangs'), 60_000));
        const given = { ...(0, eval)(tools), ...places };
        return Promise.race([(0, eval)(`(${source})`)(given, window.other), limit]);
      },
      { source: run.toString(), tools: TOOLS, places: { serve, room } },
    ).catch((error) => error.message);
    const passed = outcome === true;
    failures += passed ? 0 : 1;
    console.log(`${passed ? 'ok' : 'FAILED'} ${name}${passed ? '' : `: ${outcome}`}`);
  }
} finally {
  await browser?.close();
  fronts.forEach((each) => {
    each.closeAllConnections();
    each.close();
  });
  programs.forEach((each) => each.kill('SIGTERM'));
  rmSync(home, { recursive: true, force: true });
}
console.log(`${CASES.length - failures} of ${CASES.length} cases of the gateway passed`);
process.exit(failures === 0 ? 0 : 1);

/** Where the gateway of a program is, which it prints once it listens. */
async function listening(program) {
  for await (const line of createInterface({ input: program.stdout })) {
    const found = line.match(/gateway on (http:\/\/\S+)/);
    if (found) return found[1].replace(/\/$/, '');
  }
  throw new Error('the program ended before its gateway listened');
}

/** A server of an empty page. */
async function front() {
  const server = createServer((_, response) => {
    response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>A page</title>');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}
