// The official openai client of npm against `ration serve`; run by npm_client_test.sh. The model is
// data/tiny/parrot.gguf: it thinks, says a word, and calls a tool, whatever it is asked.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {after, before, test} from 'node:test';

const {default: OpenAI} = await import(process.env.OPENAI_CLIENT);
const [ration, models] = process.argv.slice(2);

const hello = [{role: 'user', content: 'How is the weather?'}];
const tools = [{
  type: 'function',
  function: {
    name: 'weather',
    description: 'tells the weather',
    parameters: {type: 'object', properties: {city: {type: 'string'}}},
  },
}];
let server, url, client;

before(async () => {
  server = spawn(ration, ['serve', `${models}/parrot.gguf`, '--port', '0', '--threads', '1',
                          '--context', '512'], {stdio: ['ignore', 'pipe', 'ignore']});
  url = await new Promise((found, failed) => {
    let said = '';
    server.stdout.on('data', (text) => {
      said += text;
      const match = /answers at (\S+)/.exec(said);
      if (match) found(match[1]);
    });
    server.on('exit', () => failed(new Error('the server did not start')));
  });
  client = new OpenAI({baseURL: url, apiKey: 'any', maxRetries: 0});
});

after(async () => {
  const ended = new Promise((resolve) => server.on('exit', resolve));
  server.kill('SIGTERM');
  assert.equal(await ended, 0);
});

test('answers whole, with tools and reasoning', async () => {
  const answer = await client.chat.completions.create(
      {model: 'parrot', messages: hello, tools, temperature: 0});
  const [choice] = answer.choices;
  assert.equal(choice.finish_reason, 'tool_calls');
  assert.equal(choice.message.tool_calls[0].function.name, 'weather');
  assert.deepEqual(JSON.parse(choice.message.tool_calls[0].function.arguments),
                   {city: 'Bern', days: 2});
  assert.equal(choice.message.reasoning_content.trim(), 'Bern is a city.');
  assert.ok(answer.usage.total_tokens > 0);
  assert.ok(answer.usage.ration.peak_bytes > 0);
});

test('streams', async () => {
  const stream = await client.chat.completions.create({
    model: 'parrot', messages: hello, temperature: 0, stream: true,
    stream_options: {include_usage: true},
  });
  let text = '', usage = null;
  for await (const event of stream) {
    text += event.choices[0]?.delta?.content ?? '';
    usage = event.usage ?? usage;
  }
  assert.match(text, /I look\./);
  assert.ok(usage.completion_tokens > 0);
});

test('runs tools by its own loop of events', async () => {
  const final = await client.chat.completions
                    .stream({model: 'parrot', messages: hello, tools, temperature: 0})
                    .finalChatCompletion();
  assert.equal(final.choices[0].message.tool_calls[0].function.name, 'weather');
});

test('can be aborted in mid-stream', async () => {
  const stream = await client.chat.completions.create(
      {model: 'parrot', messages: hello, stream: true, max_tokens: 400, ignore_eos: true});
  for await (const _ of stream) {
    stream.controller.abort();
    break;
  }
  const end = Date.now() + 30_000;
  while (Date.now() < end) {
    const health = await (await fetch(url.replace('/v1', '/health'))).json();
    if (health.answers.active + health.answers.waiting === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail('the answer went on');
});

test('throws its own errors', async () => {
  await assert.rejects(client.chat.completions.create({model: 'nobody', messages: hello}),
                       OpenAI.NotFoundError);
  await assert.rejects(client.chat.completions.create(
                           {model: 'parrot', messages: hello, temperature: -1}),
                       (error) => error instanceof OpenAI.BadRequestError &&
                           error.param === 'temperature');
});

test('lists models and speaks responses', async () => {
  const listed = await client.models.list();
  assert.equal(listed.data[0].id, 'parrot');
  const answer = await client.responses.create({model: 'parrot', input: 'Hello!'});
  assert.match(answer.output_text, /I look\./);
});
