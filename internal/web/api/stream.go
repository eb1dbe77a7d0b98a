package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"tandem/internal/control"
	"tandem/internal/masking"
)

const (
	streamMedia = "text/event-stream"

	// heartbeat is how often a stream says that it is there, and looks whether its
	// token still counts. A client that does not take what it is sent within that
	// time is dropped. It loses nothing: it asks again from the last event it had.
	heartbeat = 10 * time.Second
	// reconnect is when a client is to ask again.
	reconnect = 2 * time.Second

	// What may be open at once on this node: each holds a connection.
	tenantStreams = 20
	mostStreams   = 1000
)

// StreamInput is the request of a stream of events.
type StreamInput struct {
	TenantPath
	LastEventID string `header:"Last-Event-ID" doc:"id of the last event that was received, as browsers send it; goes before cursor"`
	Cursor      string `query:"cursor" doc:"begins behind this place: an id of a stream, or next_cursor of the list of events. Without either: with what comes from now on"`
}

// streams counts those that are open.
type streams struct {
	mu  sync.Mutex
	all int
	of  map[masking.TenantID]int
}

// open counts one more, unless there are too many.
func (s *streams) open(t masking.TenantID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[t] >= tenantStreams || s.all >= mostStreams {
		return false
	}
	s.all++
	s.of[t]++
	return true
}

func (s *streams) close(t masking.TenantID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.of[t]--; s.of[t] == 0 {
		delete(s.of, t)
	}
}

// streamRoutes declares the stream of events.
func (r *router) streamRoutes() {
	op := tenantOp("GET", "/events/stream", "events-stream", "Follow events as they are written (server-sent events)")
	op.Errors = []int{400, 401, 404, 410, 429, 500, 503}
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Server-sent events: id is a cursor, event the type, data an item of the list of events. Comments are signs of life",
		Content: map[string]*huma.MediaType{streamMedia: {Schema: &huma.Schema{Type: huma.TypeString},
			Extensions: map[string]any{"x-itemSchema": streamItem()}}}}}
	s := r.server
	huma.Register(r, op, func(ctx context.Context, in *StreamInput) (*huma.StreamResponse, error) {
		after, err := s.streamFrom(ctx, in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		t := exchangeOf(ctx).tenant
		if !s.streams.open(t.ID) {
			return nil, s.problem(ctx, &limited{reconnect})
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			defer s.streams.close(t.ID)
			req, w := humago.Unwrap(c)
			s.stream(w, req, after)
		}}, nil
	})
}

// streamItem describes one event of the stream, as itemSchema of OpenAPI 3.2 does.
func streamItem() map[string]any {
	text := map[string]any{"type": huma.TypeString}
	return map[string]any{
		"type": huma.TypeObject, "required": []string{"id", "event", "data"}, "additionalProperties": false,
		"properties": map[string]any{"id": text, "event": text, "data": map[string]any{"type": huma.TypeString,
			"contentMediaType": "application/json", "contentSchema": map[string]any{"$ref": "#/components/schemas/EventRecord"}}},
	}
}

// streamFrom is the place behind which a stream begins.
func (s *server) streamFrom(ctx context.Context, in *StreamInput) (int64, error) {
	if s.Draining != nil && s.Draining() {
		return 0, masking.ErrUnavailable()
	}
	from, field := in.Cursor, "cursor"
	if in.LastEventID != "" {
		from, field = in.LastEventID, "Last-Event-ID"
	}
	t := exchangeOf(ctx).tenant.ID
	if from == "" {
		return s.Plane.Records.Last(ctx, t)
	}
	after, err := eventCursor(from)
	if err != nil {
		return 0, invalidField(field, field+" is not one that events gave")
	}
	return after, s.Plane.Records.Reachable(ctx, t, after)
}

// stream sends events until the client is gone, too slow, or may not have them any
// more, or the server takes leave.
func (s *server) stream(w http.ResponseWriter, r *http.Request, after int64) {
	out := streamWriter{w, http.NewResponseController(w), s.Heartbeat}
	w.Header().Set("Content-Type", streamMedia)
	w.Header().Set("X-Accel-Buffering", "no") // a proxy is not to keep it back
	if r.Method == http.MethodHead {
		return
	}
	// The server's time for reading a request is over at some point of every stream.
	_ = out.control.SetReadDeadline(time.Time{}) // a recorder of tests has none
	ctx, cancel := context.WithCancel(r.Context())
	var waits sync.WaitGroup
	defer waits.Wait()
	defer cancel()
	waits.Go(func() {
		select {
		case <-s.Leaving:
			cancel()
		case <-ctx.Done():
		}
	})
	f := s.Plane.Records.Follow(exchangeOf(ctx).tenant.ID, after)
	defer f.Close()
	for err := out.send(fmt.Appendf(nil, "retry: %d\n\n", reconnect.Milliseconds())); err == nil; {
		page, failed := f.Next(ctx, s.Heartbeat)
		if failed != nil {
			return
		}
		t, _, refused := s.guard.Tenant(r)
		if refused != nil {
			return
		}
		err = out.send(streamText(page, t))
	}
}

// streamText writes events as a stream has them; a comment if there are none.
func streamText(page []control.StoredEvent, t masking.Tenant) []byte {
	if len(page) == 0 {
		return []byte(": still here\n\n")
	}
	var b bytes.Buffer
	record := eventRecord(t.Settings.Zone)
	for _, e := range page {
		fmt.Fprintf(&b, "id: %s\nevent: %s\ndata: %s\n\n", eventPlace(e), e.Type, bytes.TrimSuffix(encode(record(e)), []byte("\n")))
	}
	return b.Bytes()
}

// streamWriter writes to a client that has to take what it is sent.
type streamWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	within  time.Duration
}

// send writes and waits until it is on its way, as long as it may take.
func (w streamWriter) send(b []byte) error {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.within)) // a recorder of tests has none
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.control.Flush()
}
