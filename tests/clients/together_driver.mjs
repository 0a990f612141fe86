// Makes calls with the `together-ai` package of the current directory; nothing of tunelog is near.
//
// Each line of standard input is the JSON of {calls, and the options of a client}, where a call is
// [method, ...arguments] and {"$date": text} stands for a Date. Each is answered with a line that is the
// JSON list of what came of the calls: {value} or {error, message, status, body}.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const Together = createRequire(`${process.cwd()}/`)("together-ai");

async function make(client, [method, ...args]) {
  try {
    const names = method.split(".");
    const object = names.length > 1 ? client[names[0]] : client;
    return { value: await object[names.at(-1)](...args) };
  } catch (error) {
    const { message, status, error: body } = error;
    return { error: error.constructor.name, message, status, body };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { calls, ...options } = JSON.parse(line, (_, value) =>
    value?.$date ? new Date(value.$date) : value,
  );
  const client = new Together(options);
  const outcomes = [];
  for (const call of calls) outcomes.push(await make(client, call));
  console.log(JSON.stringify(outcomes));
}
