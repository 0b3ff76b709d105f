// Reads the results of the HTTP cache test suite, prints passes by kind and
// every test that is not passed, and exits 1 if one of them is required or
// optimal and not named in docs/conformance.md.
//
//   node conformance-report.mjs SUITE ENGINE RESULTS.json conformance.md [--named-may-pass]
//
// SUITE is the folder with the suite's tests/, ENGINE the one with its lib/.
// Unless --named-may-pass, a named test that is passed counts as a mistake.
// What counts as passed is decided by the suite's own display code: a test
// whose dependency is not passed is not passed.
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, engine, resultsFile, documentFile, namedMayPass] = process.argv.slice(2)
const load = file => import(pathToFileURL(path.resolve(file)))
const { default: suites } = await load(path.join(folder, 'tests/index.mjs'))
// Later than the package, it is in a file of its own.
const decides = ['lib/results.mjs', 'lib/display.mjs'].map(file => path.join(engine, file))
const { determineTestResult } = await load(decides.find(file => fs.existsSync(file)))
// Only the package has these.
const surrogate = path.join(folder, 'tests/surrogate-control.mjs')
if (fs.existsSync(surrogate)) suites.push((await load(surrogate)).default)

const results = JSON.parse(fs.readFileSync(resultsFile, 'utf8'))
const document = fs.readFileSync(documentFile, 'utf8')
// Rows of the table under this heading begin with the test's id in backquotes.
const section = document.split(/^## Tests that are not met$/m)[1]?.split(/^## /m)[0] ?? ''
const excused = new Set([...section.matchAll(/^\| `([^`]+)`/gm)].map(match => match[1]))

const PASSED = new Set(['✅', 'Y'])
const WHY = {
  '⛔️': 'failed',
  '⚠️': 'failed',
  N: 'no',
  '🔹': 'its set-up failed',
  '⁉️': 'the harness failed',
  '⚪️': 'depends on a test that is not passed',
  '↻': 'the request was sent again',
  '-': 'was not run'
}

const kinds = {
  required: { passed: 0, all: 0 },
  optimal: { passed: 0, all: 0 },
  check: { passed: 0, all: 0 }
}
const missed = []
for (const suite of suites) {
  for (const test of suite.tests) {
    // Tests of browsers' caches are not run through a proxy.
    if (test.browser_only) continue
    const kind = test.kind ?? 'required'
    const symbol = determineTestResult(suites, test.id, results)[2]
    kinds[kind].all += 1
    if (PASSED.has(symbol)) {
      kinds[kind].passed += 1
    } else {
      const said = Array.isArray(results[test.id]) ? results[test.id].join(': ') : ''
      missed.push({ kind, id: test.id, why: `${WHY[symbol]}${said ? ` (${said})` : ''}` })
    }
  }
}

for (const { kind, id, why } of missed) {
  const note = excused.has(id) ? ' [named in docs/conformance.md]' : ''
  console.log(`${kind.padEnd(8)} ${id}: ${why}${note}`)
}
console.log('\n| kind | passed | of |\n|---|---|---|')
for (const [kind, { passed, all }] of Object.entries(kinds)) {
  console.log(`| ${kind} | ${passed} | ${all} |`)
}
const broken = missed.filter(({ kind, id }) => kind !== 'check' && !excused.has(id))
const idle = namedMayPass ? [] : [...excused].filter(id => !missed.some(one => one.id === id))
if (idle.length > 0) {
  console.log(`\nnamed in docs/conformance.md, but passed: ${idle.join(', ')}`)
}
if (broken.length > 0) {
  console.log(`\n${broken.length} required or optimal tests are not passed`)
}
process.exit(broken.length + idle.length > 0 ? 1 : 0)
