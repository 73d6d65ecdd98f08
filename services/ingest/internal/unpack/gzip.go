package unpack

import (
	"bufio"
	"compress/gzip"
	"io"
)

// members reads a gzip file of several members one after the other. Zeros behind one
// are passed over, as gzip does: systems that store in blocks fill the last one with them.
type members struct {
	src *bufio.Reader
	z   *gzip.Reader
}

func newMembers(src io.Reader) (*members, error) {
	m := &members{src: bufio.NewReader(src)}
	var err error
	if m.z, err = gzip.NewReader(m.src); err != nil {
		return nil, err
	}
	m.z.Multistream(false)
	return m, nil
}

func (m *members) Read(p []byte) (int, error) {
	for {
		n, err := m.z.Read(p)
		if err != io.EOF {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
		if err := m.next(); err != nil {
			return 0, err
		}
	}
}

// next goes on to the next member; io.EOF: there is none.
func (m *members) next() error {
	for {
		b, err := m.src.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			break
		}
	}
	if err := m.src.UnreadByte(); err != nil {
		return err
	}
	if err := m.z.Reset(m.src); err != nil {
		return unexpected(err)
	}
	m.z.Multistream(false)
	return nil
}
