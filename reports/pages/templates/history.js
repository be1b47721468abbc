if (data.history) draw("history", data.history);
