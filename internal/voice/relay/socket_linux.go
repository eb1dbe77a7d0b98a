package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawAddr is a struct sockaddr_in or sockaddr_in6 and its length.
type rawAddr struct {
	b      [unix.SizeofSockaddrInet6]byte
	length uint32
}

// newRawAddr builds the sockaddr of an address without a zone.
func newRawAddr(a netip.AddrPort) (r rawAddr) {
	binary.BigEndian.PutUint16(r.b[2:], a.Port())
	if a.Addr().Is4() {
		binary.NativeEndian.PutUint16(r.b[:], unix.AF_INET)
		host := a.Addr().As4()
		copy(r.b[4:], host[:])
		r.length = unix.SizeofSockaddrInet4
		return r
	}
	binary.NativeEndian.PutUint16(r.b[:], unix.AF_INET6)
	host := a.Addr().As16()
	copy(r.b[8:], host[:])
	r.length = unix.SizeofSockaddrInet6
	return r
}

// addrPort reads a sockaddr; the zero value when it is of another family. An
// IPv6 scope gives a zone, which no address that was signalled has.
func (r *rawAddr) addrPort() netip.AddrPort {
	port := binary.BigEndian.Uint16(r.b[2:])
	switch binary.NativeEndian.Uint16(r.b[:]) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(r.b[4:])), port)
	case unix.AF_INET6:
		host := netip.AddrFrom16([16]byte(r.b[8:]))
		if binary.NativeEndian.Uint32(r.b[24:]) != 0 {
			host = host.WithZone("scoped")
		}
		return netip.AddrPortFrom(host, port)
	}
	return netip.AddrPort{}
}

// rawSocket is a non-blocking UDP socket that the runtime of Go knows nothing
// of: its descriptor.
type rawSocket int

// listenRaw binds a socket of the address's family only.
func listenRaw(at netip.AddrPort) (socket, error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open media socket: %w", err)
	}
	if family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil {
		a := newRawAddr(at)
		if _, _, e := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&a.b)), uintptr(a.length)); e != 0 {
			err = e
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("bind media socket: %w", err)
	}
	return rawSocket(fd), nil
}

func (fd rawSocket) port() uint16 {
	var a rawAddr
	a.length = uint32(len(a.b))
	// It cannot fail for a descriptor that is ours and bound.
	_, _, _ = unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&a.b)), uintptr(unsafe.Pointer(&a.length)))
	return a.addrPort().Port()
}

// send gives one datagram to the system, or drops it when the socket's buffer
// is full: late speech is worth nothing.
func (fd rawSocket) send(b []byte, to *destination) error {
	// Raw: it does not block, so the scheduler need not be told.
	_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0,
		uintptr(unsafe.Pointer(&to.raw.b)), uintptr(to.raw.length))
	if e != 0 {
		return e
	}
	return nil
}

// receive takes one datagram and where it is from.
func (fd rawSocket) receive(b []byte, from *rawAddr) (int, unix.Errno) {
	from.length = uint32(len(from.b))
	n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0,
		uintptr(unsafe.Pointer(&from.b)), uintptr(unsafe.Pointer(&from.length)))
	return int(n), e
}

func (fd rawSocket) drain() {
	var b [1]byte
	var from rawAddr
	for range mostDrained {
		if _, e := fd.receive(b[:], &from); e != 0 && e != unix.EINTR {
			return
		}
	}
}

func (fd rawSocket) close() { _ = unix.Close(int(fd)) } // an error leaves nothing to do: the descriptor is gone
