// KafkaSSE behind Node's HTTP server, as its documentation does it: server.js MODULES PORT KAFKA_PORT
'use strict';

const [modules, port, kafkaPort] = process.argv.slice(2);
const kafkaSse = require(`${modules}/node_modules/kafka-sse`);
const logger = require(`${modules}/node_modules/bunyan`).createLogger({ name: 'sse', level: 'fatal' });

require('http').createServer((request, response) => {
  const since = new URL(request.url, 'http://localhost').searchParams.get('since');
  kafkaSse(request, response, ['bench'], {
    kafkaConfig: { 'metadata.broker.list': `127.0.0.1:${kafkaPort}` },
    logger,
  }, since === null ? undefined : Number(since));
}).listen(Number(port), '127.0.0.1');
