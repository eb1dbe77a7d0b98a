// Package obs is what an operator looks at: the logger, the metrics registry
// and the ops endpoints for health, readiness, metrics and profiles.
//
// It imports nothing of ours and holds no process-wide state; the composition
// root builds one of each and passes them on.
package obs

import (
	"fmt"
	"io"
	"log/slog"
	"os"
)

// NewLogger makes a logger that writes to w what is at or above level.
//
// The format is "text", "json", or "auto", which is text when w is a terminal
// and JSON otherwise; any other is refused. Numbers of people are hidden by the
// LogValue of their type, not here.
func NewLogger(w io.Writer, format string, level slog.Leveler) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	if format == "auto" {
		format = "json"
		if terminal(w) {
			format = "text"
		}
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("log format %q: want auto, text or json", format)
	}
}

// terminal reports whether w is a character device. /dev/null is one too, and
// it does not matter what is written there.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
