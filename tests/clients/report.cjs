// What the Node clients here have in common: they say what came, and end when stdin closes.
"use strict";

process.stdin.resume().on("end", () => process.exit(0));

// One line per event: its topic, partition and offset.
exports.show = (data) => {
  const { topic, partition, offset } = JSON.parse(data).meta;
  console.log(`${topic} ${partition} ${offset}`);
};
