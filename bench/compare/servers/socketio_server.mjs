// npm `socket.io`: rooms are channels. Speaks as SocketIoDialect of cpp/load/web_dialects.hpp says.
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const http = createServer();
const recovery = process.argv[3] === 'recovery' ? { connectionStateRecovery: { maxDisconnectionDuration: 60000 } } : {};
const io = new Server(http, { transports: ['websocket'], perMessageDeflate: false, serveClient: false, ...recovery });
io.on('connection', (socket) => {
  socket.on('s', (...rooms) => {
    const acknowledge = rooms.pop();
    socket.join(rooms);
    acknowledge();
  });
  socket.on('p', (room, data, acknowledge) => {
    io.to(room).emit('m', data);
    acknowledge();
  });
});
http.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 });
process.on('SIGTERM', () => process.exit(0));
