package xlsxrows

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/xmlrows/xmlscan"
)

const (
	blockTexts     = 16       // texts that are found and read together
	maxInMemory    = 16 << 20 // bytes of texts; more lie in a temporary file
	maxCached      = 16 << 20 // bytes of texts read back
	maxShared      = 2 << 30  // bytes of all texts
	maxSharedTexts = 1 << 26
	maxText        = 1 << 20 // bytes of a text; Excel has 32,767 characters
)

// texts are those that cells share. Each is stored as its length and its bytes.
type texts struct {
	count   int
	offsets []int64 // of each block
	size    int64
	memory  []byte
	file    *os.File // nil: all lie in memory
	out     *bufio.Writer
	blocks  map[int][]byte // read back
	cached  int
	scratch []byte
}

// readTexts reads the part of shared texts. A file without one has none.
func (b *Book) readTexts(temp string) (*texts, error) {
	t := &texts{blocks: map[int][]byte{}}
	if b.shared == "" || !b.archive.has(b.shared) {
		return t, nil
	}
	p, err := b.archive.open(b.shared, maxShared)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := t.fill(p.scan, temp); err != nil {
		t.close()
		return nil, p.explain(err, 0)
	}
	return t, nil
}

func (t *texts) fill(scan *xmlscan.Scanner, temp string) error {
	var r richText
	for {
		token, err := scan.Next()
		if errors.Is(err, io.EOF) {
			if t.out != nil {
				err = t.out.Flush()
				t.memory, t.out = nil, nil
				return spooled(err)
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case token.Kind == xmlscan.Start && token.Name.Local == "si" && scan.Depth() == 2:
			r.reset()
		case token.Kind == xmlscan.End && token.Name.Local == "si" && scan.Depth() == 1:
			if err := t.add(unescape(r.text), temp); err != nil {
				return err
			}
		default:
			if r.take(token); len(r.text) > maxText {
				return wrong(rows.TooLarge, "a text is longer than %d bytes", maxText)
			}
		}
	}
}

func spooled(err error) error {
	if err != nil {
		return fmt.Errorf("xlsxrows: keep the shared texts in a temporary file: %w", err)
	}
	return nil
}

func (t *texts) add(text []byte, temp string) error {
	if t.count == maxSharedTexts {
		return wrong(rows.TooLarge, "there are more than %d shared texts", maxSharedTexts)
	}
	if t.count%blockTexts == 0 {
		t.offsets = append(t.offsets, t.size)
	}
	t.count++
	t.scratch = append(binary.AppendUvarint(t.scratch[:0], uint64(len(text))), text...)
	t.size += int64(len(t.scratch))
	if t.out == nil {
		if t.memory = append(t.memory, t.scratch...); len(t.memory) <= maxInMemory {
			return nil
		}
		return spooled(t.spool(temp))
	}
	_, err := t.out.Write(t.scratch)
	return spooled(err)
}

// spool moves the texts to a file that has no name and goes with its descriptor.
func (t *texts) spool(temp string) (err error) {
	if t.file, err = os.CreateTemp(temp, "waybill-texts-*"); err != nil {
		return err
	}
	if err := os.Remove(t.file.Name()); err != nil {
		return err
	}
	t.out = bufio.NewWriterSize(t.file, 1<<16)
	_, err = t.out.Write(t.memory)
	t.memory = nil
	return err
}

func (t *texts) close() {
	if t.file != nil {
		_ = t.file.Close()
		t.file = nil
	}
}

// get gives a text until the next call; false if there is no such text.
func (t *texts) get(i int) ([]byte, bool, error) {
	if i < 0 || i >= t.count {
		return nil, false, nil
	}
	block, err := t.block(i / blockTexts)
	if err != nil {
		return nil, false, err
	}
	for range i % blockTexts {
		length, n := binary.Uvarint(block)
		block = block[n+int(length):] //nolint:gosec // written by add
	}
	length, n := binary.Uvarint(block)
	return block[n : n+int(length)], true, nil //nolint:gosec // written by add
}

func (t *texts) block(i int) ([]byte, error) {
	from, to := t.offsets[i], t.size
	if i+1 < len(t.offsets) {
		to = t.offsets[i+1]
	}
	if t.file == nil {
		return t.memory[from:to], nil
	}
	if block, ok := t.blocks[i]; ok {
		return block, nil
	}
	block := make([]byte, to-from)
	if _, err := t.file.ReadAt(block, from); err != nil {
		return nil, spooled(err)
	}
	if t.cached += len(block) + 64; t.cached > maxCached {
		clear(t.blocks)
		t.cached = len(block) + 64
	}
	t.blocks[i] = block
	return block, nil
}

// richText gathers the text of an item: its runs, without what helps to read it out.
type richText struct {
	text     []byte
	inText   bool
	phonetic bool
}

func (r *richText) reset() { *r = richText{text: r.text[:0]} }

func (r *richText) take(t xmlscan.Token) {
	switch t.Kind {
	case xmlscan.Text:
		if r.inText && len(r.text) <= maxText {
			r.text = append(r.text, t.Text...)
		}
	case xmlscan.Start, xmlscan.End:
		begins := t.Kind == xmlscan.Start
		switch t.Name.Local {
		case "rPh":
			r.phonetic = begins
		case "t":
			r.inText = begins && !r.phonetic
		}
	}
}
