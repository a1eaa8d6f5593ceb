// An upstream in Node that says which model and size it reads in a request, by Express and multer.
const express = require("express");
const multer = require("multer");

const app = express();
app.use(express.json({ type: ["json", "+json"] }));
app.use(express.urlencoded({ extended: true }));
app.use(multer().any());
app.use((request, response) => {
  const { model = null, size = null } = request.body || {};
  response.json({ reader: "express", model, size });
});
// A body that can't be read names no model.
app.use((error, request, response, next) => {
  response.json({ reader: "express", model: null, error: String(error.message) });
});
app.listen(Number(process.argv[2]), "127.0.0.1");
