// An app's own worker, which draws ours in.
importScripts("/pushrpc-worker.js");
