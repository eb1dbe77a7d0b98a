package siptx

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// A message is what was parsed, with what the transactions look at.
type message struct {
	req *sip.Request // one of the two
	res *sip.Response

	via     *sip.ViaHeader // topmost
	vias    int
	branch  string // of via
	cseq    *sip.CSeqHeader
	callID  string
	fromTag string
	toTag   string

	length int    // Content-Length, -1 without one
	fields fields // seen, of those that may come once only
}

// A refusal says why a message is none.
type refusal struct {
	code int    // 400, 416 or 505; 0 for what must not be answered
	why  string // a constant
	head string // start line and header fields
}

func (r *refusal) reason() string {
	switch r.code {
	case sip.StatusVersionNotSupported:
		return "Version Not Supported"
	case statusURIScheme:
		return "Unsupported URI Scheme"
	}
	return "Bad Request"
}

var (
	errVersion = errors.New("version is not SIP/2.0")
	errScheme  = errors.New("scheme of the Request-URI is not for SIP")
)

const statusURIScheme = 416

// parse reads one whole message. raw may be longer than the message (RFC 3261
// §18.3: the rest of a datagram is discarded) but not shorter.
//
// What the library would let through or misread is refused or set right here:
// line ends other than CRLF and control characters (refused without an answer: they
// cannot be echoed safely), folded lines (unfolded), compact names and odd case of
// names (spelled out), several Via in a line (split), quoted strings and escapes in
// name-addr and parameters, methods in lower case (left alone: methods are
// case-sensitive), fields that may come once but come twice, numbers out of
// range, header fields in the Request-URI.
func parse(raw []byte) (*message, *refusal) {
	end := bytes.Index(raw, []byte("\r\n\r\n"))
	if end < 0 || end > maxHead {
		return nil, &refusal{why: "no end of the header fields within bounds"}
	}
	head := string(raw[:end+2])
	if !cleanOctets(head) {
		return nil, &refusal{why: "control character or bare CR or LF"}
	}
	m := &message{length: -1}
	if err := m.parseHead(head); err != nil {
		code := sip.StatusBadRequest
		switch {
		case errors.Is(err, errVersion):
			code = sip.StatusVersionNotSupported
		case errors.Is(err, errScheme):
			code = statusURIScheme
		}
		return nil, &refusal{code: code, why: err.Error(), head: head}
	}
	body := raw[end+4:]
	if m.length > len(body) {
		return nil, &refusal{code: sip.StatusBadRequest, why: "body shorter than Content-Length", head: head}
	}
	if m.length >= 0 {
		body = body[:m.length]
	}
	if len(body) > 0 {
		m.setBody(bytes.Clone(body))
	}
	return m, nil
}

func (m *message) parseHead(head string) error {
	line, rest, _ := strings.Cut(head, "\r\n")
	if err := m.startLine(line); err != nil {
		return err
	}
	for n := 0; rest != ""; n++ {
		if n == maxFields {
			return errors.New("too many header fields")
		}
		line, rest = nextField(rest)
		if err := m.field(line); err != nil {
			return err
		}
	}
	return m.complete()
}

// complete checks what must be there (§8.1.1, §20), and takes out what transactions need.
func (m *message) complete() error {
	const needed = 1<<fieldFrom | 1<<fieldTo | 1<<fieldCallID | 1<<fieldCSeq
	if m.via == nil || m.fields&needed != needed {
		return errors.New("Via, From, To, Call-ID or CSeq is missing")
	}
	m.branch, _ = m.via.Params.Get("branch")
	if m.req == nil {
		return nil
	}
	if m.cseq.MethodName != m.req.Method {
		return errors.New("method in CSeq is not that of the request")
	}
	if !strings.HasPrefix(m.branch, magicCookie) || len(m.branch) == len(magicCookie) {
		m.branch = m.legacyBranch()
	}
	return nil
}

// legacyBranch is what RFC 3261 §17.2.3 compares where there is no magic cookie:
// Request-URI, From tag, Call-ID, CSeq number and topmost Via. To tags are left out,
// so that an ACK finds its INVITE. A real branch holds no NUL.
func (m *message) legacyBranch() string {
	return strings.Join([]string{m.req.Recipient.String(), m.fromTag, m.callID,
		strconv.Itoa(int(m.cseq.SeqNo)), m.via.Value()}, "\x00")
}

func (m *message) serverKey(method sip.RequestMethod) serverKey {
	return serverKey{branch: m.branch, host: strings.ToLower(m.via.Host), port: m.via.Port, method: method}
}

func (m *message) startLine(line string) error {
	first, rest, ok := strings.Cut(line, " ")
	if !ok {
		return errors.New("start line of one word")
	}
	if len(first) >= 4 && strings.EqualFold(first[:4], "SIP/") {
		return m.statusLine(first, rest)
	}
	uri, version, ok := strings.Cut(rest, " ")
	if !ok || !isToken(first) {
		return errors.New("request line is not method, URI and version")
	}
	if !strings.EqualFold(version, "SIP/2.0") {
		if len(version) > 4 && strings.EqualFold(version[:4], "SIP/") && !strings.Contains(version, " ") {
			return errVersion
		}
		return errors.New("request line does not end in a version")
	}
	m.req = sip.NewRequest(sip.RequestMethod(first), sip.Uri{})
	if err := parseURI(uri, &m.req.Recipient); err != nil {
		if foreignScheme(uri) { // the library takes letters only
			return errScheme
		}
		return err
	}
	// §19.1.1, table 1: no header fields in a Request-URI.
	if isSIP(&m.req.Recipient) && strings.Contains(uri[strings.LastIndexByte(uri, '@')+1:], "?") {
		return errors.New("header fields in the Request-URI")
	}
	return nil
}

func (m *message) statusLine(version, rest string) error {
	if !strings.EqualFold(version, "SIP/2.0") {
		return errVersion
	}
	digits, reason, _ := strings.Cut(rest, " ")
	code, err := strconv.Atoi(digits)
	if err != nil || len(digits) != 3 || code < 100 || code > 699 {
		return errors.New("status code is not 100 to 699")
	}
	m.res = sip.NewResponse(code, reason)
	return nil
}

func (m *message) add(h sip.Header) {
	if m.req != nil {
		m.req.AppendHeader(h)
	} else {
		m.res.AppendHeader(h)
	}
}

func (m *message) setBody(b []byte) {
	if m.req != nil {
		m.req.SetBody(b)
	} else {
		m.res.SetBody(b)
	}
}

// cleanOctets reports whether head has no line end but CRLF and no control
// character but tabs. A quoted-pair may hold one (RFC 3261 §25.1), but not CR or LF.
func cleanOctets(head string) bool {
	for i := 0; i < len(head); i++ {
		c := head[i]
		switch {
		case c >= ' ' && c != 0x7f || c == '\t':
		case c == '\r':
			if i+1 == len(head) || head[i+1] != '\n' {
				return false
			}
			i++
		case c == '\n' || i == 0 || head[i-1] != '\\':
			return false
		}
	}
	return true
}

// nextField cuts the first header field off, unfolded (§7.3.1).
func nextField(s string) (field, rest string) {
	end := strings.Index(s, "\r\n")
	if end < 0 {
		return s, ""
	}
	folded := false
	for end+2 < len(s) && (s[end+2] == ' ' || s[end+2] == '\t') {
		folded = true
		next := strings.Index(s[end+2:], "\r\n")
		if next < 0 {
			return strings.ReplaceAll(s, "\r\n", ""), ""
		}
		end += 2 + next
	}
	field, rest = s[:end], s[end+2:]
	if folded {
		field = strings.ReplaceAll(field, "\r\n", "") // the blank that follows stays
	}
	return field, rest
}

// A salvaged head is what the answer to a request that could not be parsed repeats.
type salvaged struct {
	vias                   []string // values as they came, topmost first
	via                    *sip.ViaHeader
	intact                 bool // via is the whole of the topmost, and vias[0] nothing else
	from, to, callID, cseq string
}

// salvage takes what it can from the head of a broken request. nil: it is no
// request, or an ACK, or has no Via to answer to.
func salvage(head string) *salvaged {
	line, rest, _ := strings.Cut(head, "\r\n")
	method, _, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
	if method == "ACK" || len(method) >= 4 && strings.EqualFold(method[:4], "SIP/") {
		return nil
	}
	s := &salvaged{}
	for n := 0; rest != "" && n < maxFields; n++ {
		var field string
		field, rest = nextField(rest)
		name, value, _ := strings.Cut(field, ":")
		value = strings.Trim(value, " \t")
		set := func(to *string) {
			if *to == "" {
				*to = value
			}
		}
		switch fieldNamed(strings.TrimRight(name, " \t")).id {
		case fieldVia:
			s.takeVia(value)
		case fieldFrom:
			set(&s.from)
		case fieldTo:
			set(&s.to)
		case fieldCallID:
			set(&s.callID)
		case fieldCSeq:
			set(&s.cseq)
		}
	}
	if s.via == nil {
		return nil
	}
	return s
}

// takeVia takes the value of a Via field. Of the topmost one, protocol and sent-by
// have to be right, else nobody knows whom the answer is for.
func (s *salvaged) takeVia(value string) {
	if s.via != nil {
		s.vias = append(s.vias, value)
		return
	}
	first, rest, more := cutList(value)
	via := &sip.ViaHeader{}
	if parseVia(first, via) == nil {
		s.via, s.intact = via, true
		s.vias = append(s.vias, first)
		if more {
			s.vias = append(s.vias, rest)
		}
		return
	}
	protocol, _, _ := strings.Cut(first, ";")
	if via = new(sip.ViaHeader); parseVia(protocol, via) == nil {
		s.via = via
		s.vias = append(s.vias, value)
	}
}
