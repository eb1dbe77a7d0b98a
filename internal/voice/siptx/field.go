package siptx

import (
	"errors"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

type fieldID uint8

// Header fields that are parsed. The others are kept as text.
const (
	fieldOther fieldID = iota
	fieldVia
	fieldContact
	fieldRoute
	fieldRecordRoute
	// These may come only once (§7.3.1, and RFC 4475 §3.3.8, §3.3.9).
	fieldFrom
	fieldTo
	fieldCallID
	fieldCSeq
	fieldMaxForwards
	fieldContentLength
	fieldContentType
)

type fields uint16 // a set of fieldID

type known struct {
	id   fieldID
	name string
}

// fieldNamed finds a header field by name, in any case, full or compact (§7.3.3,
// and the registered compact forms of other RFCs); an unknown name stays as it is.
func fieldNamed(name string) known {
	var lower [24]byte
	if len(name) > len(lower) {
		return known{name: name}
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	if id, ok := parsedField(string(lower[:len(name)])); ok {
		return id
	}
	if len(name) == 1 {
		return known{name: spelledOut(lower[0], name)}
	}
	return known{name: name}
}

func parsedField(lower string) (known, bool) {
	switch lower {
	case "via", "v":
		return known{fieldVia, "Via"}, true
	case "from", "f":
		return known{fieldFrom, "From"}, true
	case "to", "t":
		return known{fieldTo, "To"}, true
	case "call-id", "i":
		return known{fieldCallID, "Call-ID"}, true
	case "cseq":
		return known{fieldCSeq, "CSeq"}, true
	case "contact", "m":
		return known{fieldContact, "Contact"}, true
	case "route":
		return known{fieldRoute, "Route"}, true
	case "record-route":
		return known{fieldRecordRoute, "Record-Route"}, true
	case "max-forwards":
		return known{fieldMaxForwards, "Max-Forwards"}, true
	case "content-length", "l":
		return known{fieldContentLength, "Content-Length"}, true
	case "content-type", "c":
		return known{fieldContentType, "Content-Type"}, true
	}
	return known{}, false
}

// spelledOut is the name behind a compact form that is not parsed here.
func spelledOut(c byte, name string) string {
	switch c {
	case 'a':
		return "Accept-Contact"
	case 'b':
		return "Referred-By"
	case 'd':
		return "Request-Disposition"
	case 'e':
		return "Content-Encoding"
	case 'j':
		return "Reject-Contact"
	case 'k':
		return "Supported"
	case 'n':
		return "Identity-Info"
	case 'o':
		return "Event"
	case 'r':
		return "Refer-To"
	case 's':
		return "Subject"
	case 'u':
		return "Allow-Events"
	case 'x':
		return "Session-Expires"
	case 'y':
		return "Identity"
	}
	return name
}

// field takes one unfolded header field.
func (m *message) field(line string) error {
	name, value, ok := strings.Cut(line, ":")
	name = strings.TrimRight(name, " \t")
	if !ok || !isToken(name) {
		return errors.New("header field without a proper name")
	}
	value = strings.Trim(value, " \t")
	k := fieldNamed(name)
	if k.id >= fieldFrom {
		if m.fields&(1<<k.id) != 0 {
			return errors.New("header field twice that may come once")
		}
		m.fields |= 1 << k.id
		return m.single(k.id, value)
	}
	if k.id == fieldOther {
		m.add(sip.NewHeader(k.name, value))
		return nil
	}
	if k.id == fieldContact && value == "*" {
		m.add(&sip.ContactHeader{Address: sip.Uri{Host: "*", Wildcard: true}})
		return nil
	}
	for more := true; more; {
		var element string
		element, value, more = cutList(value)
		if err := m.element(k.id, element); err != nil {
			return err
		}
	}
	return nil
}

// element takes one of the values of a field that is a list.
func (m *message) element(id fieldID, s string) error {
	if id == fieldVia {
		via := &sip.ViaHeader{}
		if err := parseVia(s, via); err != nil {
			return err
		}
		if m.vias++; m.vias == 1 {
			m.via = via
		}
		m.add(via)
		return nil
	}
	return m.address(id, s)
}

// address takes a Contact, Route or Record-Route. The library has no place for the
// display name and the header parameters of the last two.
func (m *message) address(id fieldID, s string) error {
	var display string
	var params sip.HeaderParams
	switch id {
	case fieldContact:
		h := &sip.ContactHeader{}
		m.add(h)
		return nameAddr{&h.DisplayName, &h.Address, &h.Params}.parse(s)
	case fieldRoute:
		h := &sip.RouteHeader{}
		m.add(h)
		return nameAddr{&display, &h.Address, &params}.parse(s)
	default:
		h := &sip.RecordRouteHeader{}
		m.add(h)
		return nameAddr{&display, &h.Address, &params}.parse(s)
	}
}

// single takes the value of a field that may come only once.
func (m *message) single(id fieldID, value string) error {
	switch id {
	case fieldFrom:
		h := &sip.FromHeader{}
		m.add(h)
		err := nameAddr{&h.DisplayName, &h.Address, &h.Params}.parse(value)
		m.fromTag, _ = h.Params.Get("tag")
		return err
	case fieldTo:
		h := &sip.ToHeader{}
		m.add(h)
		err := nameAddr{&h.DisplayName, &h.Address, &h.Params}.parse(value)
		m.toTag, _ = h.Params.Get("tag")
		return err
	case fieldCallID:
		if value == "" || strings.ContainsAny(value, " \t") {
			return errors.New("Call-ID is not a word")
		}
		h := sip.CallIDHeader(value)
		m.callID = value
		m.add(&h)
	case fieldCSeq:
		return m.setCSeq(value)
	case fieldMaxForwards:
		n, err := strconv.ParseUint(value, 10, 8) // §20.22: 0 to 255
		if err != nil {
			return errors.New("Max-Forwards is not 0 to 255")
		}
		h := sip.MaxForwardsHeader(n)
		m.add(&h)
	case fieldContentLength:
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return errors.New("Content-Length is not a length")
		}
		h := sip.ContentLengthHeader(n)
		m.length = int(n)
		m.add(&h)
	case fieldContentType:
		if value == "" {
			return errors.New("Content-Type is empty")
		}
		h := sip.ContentTypeHeader(value)
		m.add(&h)
	}
	return nil
}

func (m *message) setCSeq(value string) error {
	digits, method, _ := strings.Cut(value, " ")
	if i := strings.IndexAny(value, " \t"); i >= 0 {
		digits, method = value[:i], strings.Trim(value[i:], " \t")
	}
	n, err := strconv.ParseUint(digits, 10, 31) // §8.1.1.5: less than 2**31
	if err != nil || !isToken(method) {
		return errors.New("CSeq is not a number below 2**31 and a method")
	}
	m.cseq = &sip.CSeqHeader{SeqNo: uint32(n), MethodName: sip.RequestMethod(method)}
	m.add(m.cseq)
	return nil
}
