// An agent in Node.js without packages of its own: it listens where HOST and PORT say.
import { createServer } from "node:http";

createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({ answer: `${process.env.GREETING} from ${process.env.BL_NAME}!`, body }));
}).listen(process.env.PORT, process.env.HOST);
