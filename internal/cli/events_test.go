package cli_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tandem/internal/cli"
)

// streaming answers requests for a stream, each with the next of its answers, and
// notes behind which place they were asked for.
type streaming struct {
	answers []func(w http.ResponseWriter)
	asked   []string
}

func (s *streaming) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked = append(s.asked, r.URL.Query().Get("cursor")) // one after the other: the client waits for each
	answer := s.answers[0]
	s.answers = s.answers[1:]
	answer(w)
}

// told writes events as the server does, and more behind them.
func told(more string, ids ...int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "retry: 2000\n\n")
		for _, i := range ids {
			_, _ = fmt.Fprintf(w, "id: place%d\nevent: greenvn.updated\ndata: {\"id\":\"evt_%d\",\"type\":\"greenvn.updated\",\"timestamp\":\"2024-06-15T10:30:00+05:30\",\"data\":{}}\n\n", i, i)
		}
		_, _ = io.WriteString(w, more)
	}
}

func refusing(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const gone = `{"error":{"code":"events_gone","message":"kept no longer","field":"cursor","request_id":"req_1"}}`

func TestFollowingGoesOnBehindTheLastEventWhenAStreamEnds(t *testing.T) {
	s := &streaming{answers: []func(http.ResponseWriter){
		told("id: place3\ndata: {\"id\":\"evt_3\"", 1, 2), // broken off in the middle of the third
		told(": still here\n\n", 3),
		refusing(410, gone),
	}}
	server := httptest.NewServer(s)
	defer server.Close()
	code, out, errs := run(t.Context(), "events", "follow", "--after", "place0", "--tenant", "acme", "--account-sid", "x", "--token", "y", "--server", server.URL)
	var ids []string
	for line := range strings.Lines(out) {
		_, id, _ := strings.Cut(line, `"id":"`)
		id, _, _ = strings.Cut(id, `"`)
		ids = append(ids, id)
	}
	if got := strings.Join(ids, " "); got != "evt_1 evt_2 evt_3" {
		t.Errorf("printed %q", out)
	}
	if got := strings.Join(s.asked, " "); got != "place0 place2 place3" {
		t.Errorf("asked behind %s", got)
	}
	if want := "tandem: events_gone: kept no longer (field cursor, request req_1)\n"; code != 1 || errs != want {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
}

// stopping interrupts the command once a line is printed.
type stopping struct {
	stop  context.CancelFunc
	lines strings.Builder
}

func (s *stopping) Write(p []byte) (int, error) {
	defer s.stop()
	return s.lines.Write(p)
}

func TestFollowingEndsWhenItIsInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told("", 1)(w)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done() // the stream stays open
	}))
	defer server.Close()
	out := &stopping{stop: stop}
	var errs strings.Builder
	code := cli.Run(ctx, cli.Process{Name: "tandem", Version: "test", In: strings.NewReader(""), Out: out, Err: &errs,
		Args: []string{"events", "follow", "--tenant", "acme", "--account-sid", "x", "--token", "y", "--server", server.URL}})
	if strings.Count(out.lines.String(), "\n") != 1 || strings.Contains(errs.String(), "panic") {
		t.Errorf("exit code %d, printed %q, stderr %q", code, out.lines.String(), errs.String())
	}
}
