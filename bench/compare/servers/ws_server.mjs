// npm `ws`, used as its documentation shows a broadcast. Speaks the raw protocol of cpp/load/web_dialects.hpp.
import { WebSocketServer } from 'ws';

const subscribers = new Map();

function join(channel, socket) {
  if (!subscribers.has(channel)) subscribers.set(channel, new Set());
  subscribers.get(channel).add(socket);
}

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(process.argv[2]),
  perMessageDeflate: false,
  backlog: 4096,
});
server.on('connection', (socket, request) => {
  request.socket.setNoDelay(true);
  const joined = [];
  socket.on('message', (message) => {
    const text = message.toString();
    if (text.startsWith('s ')) {
      for (const channel of text.slice(2).split(' ')) {
        join(channel, socket);
        joined.push(channel);
      }
    } else {
      const space = text.indexOf(' ', 2);
      const data = text.slice(space + 1);
      for (const subscriber of subscribers.get(text.slice(2, space)) ?? []) subscriber.send(data);
    }
    socket.send('ok');
  });
  socket.on('close', () => joined.forEach((channel) => subscribers.get(channel).delete(socket)));
});
process.on('SIGTERM', () => process.exit(0));
