package sipua

import (
	"bytes"
	"errors"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// bearer is a message, as far as its body goes.
type bearer interface {
	Body() []byte
	ContentType() *sip.ContentTypeHeader
	GetHeader(name string) sip.Header
}

// description gives the session description of a message: its body, or the one
// part of a multipart body that is one. ISUP and all other parts are dropped, and
// so is a body that its writer lets us ignore (RFC 3261 §20.11). ok is false when
// the body is something else, or is encoded in a way that we do not read: 415.
func description(m bearer) (sdp []byte, ok bool) {
	body := m.Body()
	if len(body) == 0 {
		return nil, true
	}
	if e := value(m, "Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, false
	}
	session, required := disposition(value(m, "Content-Disposition"))
	contentType := ""
	if ct := m.ContentType(); ct != nil {
		contentType = string(*ct)
	}
	kind, params := mediaType(contentType)
	switch {
	case session && kind == string(sdpType):
		return body, true
	case session && strings.HasPrefix(kind, "multipart/"):
		sdp = partOf(body, params["boundary"])
		return sdp, sdp != nil
	}
	return nil, !required
}

// partOf is the first session description of a multipart body, nil if it has none.
func partOf(body []byte, boundary string) []byte {
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := parts.NextRawPart()
		if err != nil {
			return nil
		}
		kind, _ := mediaType(part.Header.Get("Content-Type"))
		session, _ := disposition(part.Header.Get("Content-Disposition"))
		if kind != string(sdpType) || !session || !plain(part.Header.Get("Content-Transfer-Encoding")) {
			continue
		}
		sdp, err := io.ReadAll(part)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // carriers forget the last boundary
			return nil
		}
		return sdp
	}
}

// mediaType reads a Content-Type; "" if it is none. Parameters that cannot be
// read do not hide what the body is.
func mediaType(s string) (kind string, params map[string]string) {
	kind, params, err := mime.ParseMediaType(s)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return "", nil
	}
	return kind, params
}

// disposition reads a Content-Disposition: whether the body describes the session,
// as one without the header field does, and whether it must be understood.
func disposition(s string) (session, required bool) {
	if s == "" {
		return true, true
	}
	kind, params := mediaType(s)
	return strings.EqualFold(kind, "session"), !strings.EqualFold(params["handling"], "optional")
}

// plain reports whether a part is written as it is.
func plain(transferEncoding string) bool {
	switch strings.ToLower(transferEncoding) {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

func value(m bearer, name string) string {
	if h := m.GetHeader(name); h != nil {
		return strings.TrimSpace(h.Value())
	}
	return ""
}

// seconds reads delta-seconds (RFC 3261 §25.1); parameters or a comment may follow.
// 0 for what is none.
func seconds(text string) int {
	return int(min(number([]byte(strings.TrimSpace(text))), math.MaxInt32))
}
