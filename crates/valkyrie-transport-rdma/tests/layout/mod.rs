//! What every binding must agree on: how large the structures are that are passed to the libraries, where their fields lie, and
//! which numbers the names stand for. Written down once, on x86-64 and other machines of 64 bits, and held against whatever
//! binding this is built on.

use std::mem::{offset_of, size_of};

use verbs_sys::*;

/// The part of the interface that did not change since it is what it is: libibverbs 1.1, librdmacm 1.0.
#[test]
fn structures_are_as_large_as_the_libraries_think() {
    let sizes = [
        ("ibv_sge", size_of::<ibv_sge>(), 16),
        ("ibv_send_wr", size_of::<ibv_send_wr>(), 128),
        ("ibv_recv_wr", size_of::<ibv_recv_wr>(), 32),
        ("ibv_wc", size_of::<ibv_wc>(), 48),
        ("ibv_qp_init_attr", size_of::<ibv_qp_init_attr>(), 64),
        ("rdma_conn_param", size_of::<rdma_conn_param>(), 24),
        ("rdma_cm_event", size_of::<rdma_cm_event>(), 80),
        ("ibv_comp_channel", size_of::<ibv_comp_channel>(), 16),
        ("rdma_event_channel", size_of::<rdma_event_channel>(), 4),
    ];
    for (name, found, expected) in sizes {
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn fields_lie_where_the_libraries_look_for_them() {
    let places = [
        ("ibv_send_wr.sg_list", offset_of!(ibv_send_wr, sg_list), 16),
        ("ibv_send_wr.opcode", offset_of!(ibv_send_wr, opcode), 28),
        ("ibv_send_wr.send_flags", offset_of!(ibv_send_wr, send_flags), 32),
        (
            "ibv_send_wr.imm_data",
            offset_of!(ibv_send_wr, imm_data_invalidated_rkey_union),
            36,
        ),
        ("ibv_send_wr.wr", offset_of!(ibv_send_wr, wr), 40),
        ("ibv_wc.status", offset_of!(ibv_wc, status), 8),
        ("ibv_wc.byte_len", offset_of!(ibv_wc, byte_len), 20),
        (
            "ibv_wc.imm_data",
            offset_of!(ibv_wc, imm_data_invalidated_rkey_union),
            24,
        ),
        ("ibv_qp_init_attr.cap", offset_of!(ibv_qp_init_attr, cap), 32),
        (
            "ibv_qp_init_attr.qp_type",
            offset_of!(ibv_qp_init_attr, qp_type),
            52,
        ),
        ("rdma_cm_id.verbs", offset_of!(rdma_cm_id, verbs), 0),
        ("rdma_cm_id.qp", offset_of!(rdma_cm_id, qp), 24),
        ("rdma_cm_id.route", offset_of!(rdma_cm_id, route), 32),
        ("rdma_cm_event.event", offset_of!(rdma_cm_event, event), 16),
        ("rdma_cm_event.param", offset_of!(rdma_cm_event, param), 24),
        ("ibv_mr.lkey", offset_of!(ibv_mr, lkey), 36),
        ("ibv_mr.rkey", offset_of!(ibv_mr, rkey), 40),
    ];
    for (name, found, expected) in places {
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn names_stand_for_the_numbers_of_the_libraries() {
    assert_eq!(rdma_port_space::RDMA_PS_TCP, 0x0106);
    assert_eq!(ibv_qp_type::IBV_QPT_RC, 2);
    assert_eq!(ibv_wr_opcode::IBV_WR_RDMA_WRITE_WITH_IMM, 1);
    assert_eq!(ibv_wr_opcode::IBV_WR_SEND, 2);
    assert_eq!(ibv_send_flags::IBV_SEND_SIGNALED.0, 2);
    assert_eq!(ibv_send_flags::IBV_SEND_INLINE.0, 8);
    assert_eq!(ibv_access_flags::IBV_ACCESS_LOCAL_WRITE.0, 1);
    assert_eq!(ibv_access_flags::IBV_ACCESS_REMOTE_WRITE.0, 2);
    assert_eq!(ibv_wc_status::IBV_WC_SUCCESS, 0);
    assert_eq!(ibv_wc_status::IBV_WC_WR_FLUSH_ERR, 5);
    assert_eq!(ibv_wc_status::IBV_WC_RETRY_EXC_ERR, 12);
    assert_eq!(ibv_wc_status::IBV_WC_RNR_RETRY_EXC_ERR, 13);
    assert_eq!(ibv_wc_opcode::IBV_WC_RECV, 128);
    assert_eq!(ibv_wc_opcode::IBV_WC_RECV_RDMA_WITH_IMM, 129);
    assert_eq!(rdma_cm_event_type::RDMA_CM_EVENT_CONNECT_REQUEST, 4);
    assert_eq!(rdma_cm_event_type::RDMA_CM_EVENT_REJECTED, 8);
    assert_eq!(rdma_cm_event_type::RDMA_CM_EVENT_ESTABLISHED, 9);
    assert_eq!(rdma_cm_event_type::RDMA_CM_EVENT_DISCONNECTED, 10);
    assert_eq!(rdma_cm_event_type::RDMA_CM_EVENT_DEVICE_REMOVAL, 11);
}
