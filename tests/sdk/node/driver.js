'use strict';
// Calls the official Node SDK for the tests. A line of JSON in: [{"call": "Key.Activate", "args": [...]}, …], made at
// the same time; a line out: {"outcomes": [{"value": …} or {"error": [name, message]}, …], "said": [[…], …]}.

const readline = require('node:readline');

const DEADLINE = 20_000; // of liveness: the SDK has no timeouts of its own

// The SDK writes to the console as it goes, some errors nowhere else. The lines here belong to the answers.
let said = [];
console.log = console.warn = (...words) => said.push(words);

const sdk = require('cryptolens');

async function outcome({ call, args }) {
  const [group, method] = call.split('.');
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${call} was not settled in time`)), DEADLINE);
  });
  try {
    return { value: await Promise.race([sdk[group][method](...args), late]) };
  } catch (error) {
    return { error: [error.name, error.message] };
  } finally {
    clearTimeout(timer);
  }
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    said = [];
    const outcomes = await Promise.all(JSON.parse(line).map(outcome));
    process.stdout.write(JSON.stringify({ outcomes, said }) + '\n');
  }
}

main();
