package api

import (
	"context"
	"encoding/csv"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"tandem/internal/control"
	"tandem/internal/masking"
)

const (
	tableMedia = "text/csv"
	tablePage  = 100 // calls that are held at once
)

// CallsTableInput is the request of calls as a table.
type CallsTableInput struct {
	TenantPath
	CallsFilter
}

// callColumns are the columns of the table. New ones come behind them.
func callColumns() []string {
	return []string{"call_sid", "greenvn_id", "greenpin_id", "virtual_number", "from", "to", "direction", "status", "call_type", "dial_call_status",
		"start_time", "answer_time", "end_time", "dial_call_duration", "on_call_duration", "cause", "reason", "recorded", "custom_field"}
}

func callRow(c masking.Call, zone *time.Location) []string {
	v := callRecord(c, zone)
	return []string{string(v.CallSID), string(v.GreenVNID), string(v.GreenPinID), c.VirtualNumber.E164(), v.From, v.To, string(v.Direction),
		string(v.Status), string(v.CallType), string(v.DialCallStatus), v.StartTime, v.AnswerTime, v.EndTime,
		strconv.FormatInt(v.DialCallDuration, 10), strconv.FormatInt(v.OnCallDuration, 10), string(v.Cause), string(v.Reason),
		strconv.FormatBool(c.Recorded), inert(v.CustomField)}
}

// inert keeps a spreadsheet from taking somebody's text for a formula: an apostrophe
// comes before what begins like one. All other cells are words, numbers and times of
// ours, none of which calculates anything; a telephone number is a plus and digits.
func inert(text string) string {
	if strings.IndexAny(text, "=+-@\t\r\n＝＋－＠") == 0 {
		return "'" + text
	}
	return text
}

// callsTable declares the list of calls as a table (RFC 4180).
func (r *router) callsTable() {
	op := tenantOp("GET", "/calls.csv", "calls-csv", "Export calls as CSV, newest first")
	op.Errors = []int{400, 401, 404, 429, 500, 503}
	op.Responses = map[string]*huma.Response{"200": {Description: "A line of names, then one for each call (RFC 4180)",
		Content: map[string]*huma.MediaType{tableMedia: {Schema: &huma.Schema{Type: huma.TypeString}}}}}
	s := r.server
	huma.Register(r, op, func(ctx context.Context, in *CallsTableInput) (*huma.StreamResponse, error) {
		q, err := in.query()
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		q.Limit = tablePage
		// The first page is read before anything is said, so that it can still be an error.
		page, more, err := s.Plane.Records.Calls(ctx, exchangeOf(ctx).tenant.ID, q)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			req, w := humago.Unwrap(c)
			if !s.table(w, req, q, page, more) {
				panic(http.ErrAbortHandler) // a table that ends short must not look whole
			}
		}}, nil
	})
}

// table writes page after page, each when the client has taken the one before. It
// reports whether all was written.
func (s *server) table(w http.ResponseWriter, r *http.Request, q control.CallQuery, page []masking.Call, more bool) bool {
	h := w.Header()
	h.Set("Content-Type", tableMedia+"; charset=utf-8; header=present")
	h.Set("Content-Disposition", `attachment; filename="calls.csv"`)
	if r.Method == http.MethodHead {
		return true
	}
	ctx, answer := r.Context(), http.NewResponseController(w)
	t := exchangeOf(ctx).tenant
	_ = answer.SetReadDeadline(time.Time{}) // its end would end ctx; a recorder of tests has none
	out := csv.NewWriter(w)
	out.UseCRLF = true
	_ = out.Write(callColumns()) // Flush tells
	for {
		_ = answer.SetWriteDeadline(time.Now().Add(stalled))
		for _, c := range page {
			_ = out.Write(callRow(c, t.Settings.Zone))
		}
		if out.Flush(); out.Error() != nil {
			return false
		}
		if !more {
			return true
		}
		q.After = page[len(page)-1].ID
		var err error
		if page, more, err = s.Plane.Records.Calls(ctx, t.ID, q); err != nil {
			return false
		}
	}
}
