package api

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// A sound is a WAV file on its way out, which may be large and read in parts.
type sound struct {
	io.ReadSeeker
	name     string // that it is saved under; "" is not to be saved
	tag      string // what changes when the bytes do
	modified time.Time
	private  bool // nobody's cache may keep it
	done     func()
}

const (
	wavMedia = "audio/wav"

	// A client that takes nothing for so long is gone.
	stalled = time.Minute
)

// soundOp declares an operation that answers with a sound, in whole or in ranges
// (RFC 9110 §14), to GET and to HEAD.
func soundOp[I any](r *router, op huma.Operation, serve func(context.Context, *I) (*sound, error)) {
	op.Errors = []int{400, 401, 404, 409, 416, 429, 500, 503}
	whole := map[string]*huma.MediaType{wavMedia: {Schema: binary()}}
	parts := map[string]*huma.MediaType{wavMedia: {Schema: binary()}, "multipart/byteranges": {Schema: binary()}}
	// A map for each: documentAnswers adds to it.
	tag := func() map[string]*huma.Header {
		return map[string]*huma.Header{"ETag": textHeader("changes when the sound does")}
	}
	op.Responses = map[string]*huma.Response{
		"200": {Description: "OK", Content: whole, Headers: tag()},
		"206": {Description: "Partial Content: the range that was asked for, or each of several", Content: parts, Headers: tag()},
		"304": {Description: "Not Modified: as If-None-Match has it", Headers: tag()},
	}
	s := r.server
	huma.Register(r, op, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		found, err := serve(ctx, in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			defer found.done()
			req, w := humago.Unwrap(c)
			s.give(w, req, found)
		}}, nil
	})
}

func binary() *huma.Schema { return &huma.Schema{Type: huma.TypeString, Format: "binary"} }

// give writes a sound. The server's time for an answer is for those of the API,
// which are short; here it begins anew with each part that the client has taken.
func (s *server) give(w http.ResponseWriter, r *http.Request, f *sound) {
	h := w.Header()
	h.Set("Content-Type", wavMedia)
	h.Set("ETag", `"`+f.tag+`"`)
	if f.private {
		h.Set("Cache-Control", "private, no-store")
	}
	if f.name != "" {
		h.Set("Content-Disposition", `attachment; filename="`+f.name+`"`)
	}
	// Conditions that no reader of a file sets, and whose refusal is no envelope.
	r.Header.Del("If-Match")
	r.Header.Del("If-Unmodified-Since")
	out, control := &ranged{ResponseWriter: w}, http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // its end would end the request's context, by which the sound is read; a recorder of tests has none
	http.ServeContent(out, r, "", f.modified, patient{f.ReadSeeker, control})
	if out.refused {
		if size, err := f.Seek(0, io.SeekEnd); err == nil { // what is no range at all is refused without it
			h.Set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
		}
		h.Del("Content-Disposition")
		h.Set("Cache-Control", "no-store")
		s.refuse(w, r, &Problem{status: http.StatusRequestedRangeNotSatisfiable, Detail: ProblemDetail{Code: codeInvalidRange,
			Field: "Range", Message: "Range must lie within the file: see Content-Range", RequestID: exchangeOf(r.Context()).id}})
	}
}

// patient moves the deadline of the answer on whenever more of it is read to be
// sent.
type patient struct {
	io.ReadSeeker
	answer *http.ResponseController
}

// Read is called for every piece, between the writes.
func (p patient) Read(b []byte) (int, error) {
	_ = p.answer.SetWriteDeadline(time.Now().Add(stalled)) // a recorder of tests has none
	return p.ReadSeeker.Read(b)
}

// ranged keeps back the text with which the standard library refuses a range.
type ranged struct {
	http.ResponseWriter
	refused bool
}

// WriteHeader notes the refusal and sends nothing of it.
func (r *ranged) WriteHeader(status int) {
	if r.refused = status == http.StatusRequestedRangeNotSatisfiable; !r.refused {
		r.ResponseWriter.WriteHeader(status)
	}
}

// Write drops what is written of a refusal.
func (r *ranged) Write(b []byte) (int, error) {
	if r.refused {
		return len(b), nil
	}
	return r.ResponseWriter.Write(b)
}
