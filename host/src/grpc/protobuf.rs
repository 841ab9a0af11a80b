//! Protobuf on the wire, as far as the host's own services need it: reading fields one by one, and writing
//! them.
//!
//! Called by `grpc::health`, `grpc::reflection`, `grpc::admin` and `grpc::descriptors`. Their messages are small, and
//! descriptor sets come from strangers: read in place, they cost no memory beyond themselves, however
//! they are made, and what is served of them is what was carried, byte for byte, with options and fields
//! that nobody here knows. Source: "Encoding" of the protobuf documentation. Knows no message.

/// Most groups inside one another. Count; the format is long out of use, and other readers stop at 100.
const GROUPS_MAX: usize = 100;

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message")]
pub(super) struct Malformed;

/// What a field holds, in the forms that our messages have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number, an enum or a bool.
    Varint(u64),
    /// Bytes, text, a message, or many numbers.
    Bytes(&'a [u8]),
    /// Anything else: passed over.
    Other,
}

impl<'a> Value<'a> {
    /// The bytes of a field that must hold some.
    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Other => Err(Malformed),
        }
    }

    /// The text of a field that must hold some.
    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    /// The number of an `int32` field, negative ones included.
    pub(super) fn int32(self) -> Result<i32, Malformed> {
        match self {
            // "If you parse a number that doesn't fit in the corresponding type, you will get the same
            // effect as if you had cast the number to that type in C++".
            Self::Varint(number) => Ok(number as u32 as i32),
            Self::Bytes(_) | Self::Other => Err(Malformed),
        }
    }
}

/// The fields of a message, in their order. Ends after the first fault.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Of the message in `bytes`.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The number of the next field, and its wire type.
    fn tag(&mut self) -> Result<(u32, u64), Malformed> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        if number == 0 || number >= 1 << 29 {
            return Err(Malformed);
        }
        Ok((number, tag & 7))
    }

    fn value(&mut self, number: u32, wire_type: u64) -> Result<Value<'a>, Malformed> {
        match wire_type {
            0 => self.varint().map(Value::Varint),
            1 => self.take(8).map(|_| Value::Other),
            2 => {
                let len = self.varint()?;
                self.take(len).map(Value::Bytes)
            }
            3 => self.pass_over_group(number).map(|()| Value::Other),
            5 => self.take(4).map(|_| Value::Other),
            _ => Err(Malformed),
        }
    }

    fn pass_over_group(&mut self, number: u32) -> Result<(), Malformed> {
        let mut open = vec![number];
        while let Some(innermost) = open.last() {
            match self.tag()? {
                (number, 4) if number == *innermost => drop(open.pop()),
                (number, 3) if open.len() < GROUPS_MAX => open.push(number),
                (_, 3 | 4) => return Err(Malformed),
                (number, wire_type) => drop(self.value(number, wire_type)?),
            }
        }
        Ok(())
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self
            .tag()
            .and_then(|(number, wire_type)| Ok((number, self.value(number, wire_type)?)));
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// A message in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Adds a number, an enum or a bool. A default one (0) is left out, as proto3 has it.
    pub(super) fn varint(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.raw(u64::from(field) << 3);
            self.raw(number);
        }
    }

    /// Adds bytes, text or a message, also when they are empty: for repeated fields and those of a oneof.
    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.raw(u64::from(field) << 3 | 2);
        self.raw(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(bytes);
    }

    /// Adds a number by itself, as inside a packed field.
    pub(super) fn raw(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// How many bytes it has so far.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Its bytes so far.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Message> for bytes::Bytes {
    fn from(message: Message) -> Self {
        message.0.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding::{WireType, encode_key, encode_varint};

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
        Fields::of(bytes).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut message = Message::default();
        message.varint(1, 0);
        message.varint(2, u64::MAX);
        message.bytes(3, b"");
        message.bytes(536_870_911, &[7; 300]);
        assert_eq!(
            read(message.as_bytes()),
            Ok(vec![
                (2, Value::Varint(u64::MAX)),
                (3, Value::Bytes(b"")),
                (536_870_911, Value::Bytes(&[7; 300])),
            ])
        );
    }

    #[test]
    fn what_nobody_knows_is_passed_over() {
        let fixed = [0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 1, 2, 3, 4];
        let group = [0x1b, 0x08, 0x96, 0x01, 0x23, 0x24, 0x12, 0x01, 0xff, 0x1c];
        let number = [0x20, 0x05];
        let bytes = [&fixed[..], &group, &number].concat();
        let read = read(&bytes).expect("valid");
        let numbers: Vec<_> = read.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        assert_eq!(read[3].1, Value::Varint(5));
    }

    #[test]
    fn what_is_no_message_is_a_fault_and_the_end() {
        let nested = [&[0x0b; GROUPS_MAX + 1][..], &[0x0c; GROUPS_MAX + 1]].concat();
        let cases: [&[u8]; 10] = [
            &[0x08],                                                      // a number is missing
            &[0x08, 0x80],                                                // and cut
            &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], // and too long
            &[0x0a, 0x05, b'a'],                                          // bytes are cut
            &[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],      // and longer than memory
            &[0x00, 0x01],                                                // there is no field 0
            &[0x0e],                                                      // nor wire type 6
            &[0x0b, 0x14], // the end of another group
            &[0x0c],       // and of none
            &nested,
        ];
        for case in cases {
            assert_eq!(read(case), Err(Malformed), "{case:?}");
            let mut fields = Fields::of(case);
            while let Some(Ok(_)) = fields.next() {}
            assert_eq!(fields.next(), None);
        }
    }

    #[test]
    fn numbers_are_cut_to_32_bits_as_other_readers_have_it() {
        assert_eq!(Value::Varint(u64::MAX).int32(), Ok(-1));
        assert_eq!(Value::Varint(0xffff_fff6).int32(), Ok(-10));
        assert_eq!(Value::Bytes(b"").int32(), Err(Malformed));
        assert_eq!(Value::Bytes(b"\xff").text(), Err(Malformed));
    }

    proptest! {
        /// Whatever the bytes: no panic, and an end.
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let count = Fields::of(&bytes).count();
            prop_assert!(count <= bytes.len());
        }

        /// The other implementation in this workspace writes the same.
        #[test]
        fn prost_agrees(field in 1_u32..1 << 29, number in 1_u64.., bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut ours = Message::default();
            ours.varint(field, number);
            ours.bytes(field, &bytes);
            let mut theirs = Vec::new();
            encode_key(field, WireType::Varint, &mut theirs);
            encode_varint(number, &mut theirs);
            encode_key(field, WireType::LengthDelimited, &mut theirs);
            encode_varint(bytes.len() as u64, &mut theirs);
            theirs.extend_from_slice(&bytes);
            prop_assert_eq!(ours.as_bytes(), &theirs);
        }
    }
}
